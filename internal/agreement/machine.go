package agreement

import (
	"slices"

	"github.com/vogter/vogter/internal/errs"
)

// State is where an agreement stands, DOMAIN §6.3.
type State string

// The states.
const (
	Draft             State = "DRAFT"
	Offered           State = "OFFERED"
	Negotiating       State = "NEGOTIATING"
	PartlySigned      State = "PARTLY_SIGNED"
	Active            State = "ACTIVE"
	AmendmentPending  State = "AMENDMENT_PENDING"   // the version in force stays so
	TerminationNotice State = "TERMINATION_NOTICED" // likewise, until the end
	WindingDown       State = "WINDING_DOWN"
	Closed            State = "CLOSED"
	Declined          State = "DECLINED"
	Lapsed            State = "LAPSED"
	Superseded        State = "SUPERSEDED" // by another agreement
)

// InForce reports whether a version of an agreement in this state is in force.
func (s State) InForce() bool { return s == Active || s == AmendmentPending || s == TerminationNotice }

// Move is what moves an agreement from state to state.
type Move string

// The moves.
const (
	MoveRequest   Move = "REQUEST"
	MovePropose   Move = "PROPOSE"
	MoveOffer     Move = "OFFER"
	MoveDecline   Move = "DECLINE"
	MoveSign      Move = "SIGN"     // the first of two
	MoveComplete  Move = "COMPLETE" // the second
	MoveLapse     Move = "LAPSE"
	MoveTerminate Move = "TERMINATE"
	MoveChoose    Move = "CHOOSE_ENDING"
	MoveEnd       Move = "END"
	MoveTask      Move = "COMPLETE_TASK"
	MoveClose     Move = "CLOSE"
	MoveSupersede Move = "SUPERSEDE"
)

// Step is a row of the table of moves.
type Step struct {
	Move Move
	From State
	To   State
	By   []Side
}

// Moves returns the table. What it doesn't have can't happen.
func Moves() []Step {
	both, controller, processor, platform := []Side{Controller, Processor}, []Side{Controller}, []Side{Processor}, []Side{Platform}
	return []Step{
		{MoveRequest, "", Draft, both},
		{MovePropose, Draft, Draft, both},
		{MovePropose, Offered, Negotiating, both},
		{MovePropose, Negotiating, Negotiating, both},
		{MovePropose, Active, AmendmentPending, both},
		{MovePropose, AmendmentPending, AmendmentPending, both}, // unless one has signed
		{MoveOffer, Draft, Offered, processor},
		{MoveOffer, Negotiating, Offered, processor},
		{MoveDecline, Offered, Declined, controller},
		{MoveDecline, AmendmentPending, Active, both},
		{MoveLapse, Offered, Lapsed, platform},
		{MoveLapse, AmendmentPending, Active, platform},
		{MoveSign, Offered, PartlySigned, both},
		{MoveComplete, PartlySigned, Active, both},
		{MoveSign, AmendmentPending, AmendmentPending, both},
		{MoveComplete, AmendmentPending, Active, both},
		{MoveTerminate, Active, TerminationNotice, both},
		{MoveChoose, TerminationNotice, TerminationNotice, controller},
		{MoveEnd, TerminationNotice, WindingDown, platform},
		{MoveTask, WindingDown, WindingDown, processor},
		{MoveClose, WindingDown, Closed, processor},
		{MoveSupersede, Active, Superseded, platform},
		{MoveSupersede, AmendmentPending, Superseded, platform},
		{MoveSupersede, TerminationNotice, Superseded, platform},
	}
}

// next returns the state that a move of a side leads to, or why it can't be.
func next(m Move, from State, by Side) (State, error) {
	for _, s := range Moves() {
		if s.Move == m && s.From == from {
			if !slices.Contains(s.By, by) {
				return "", errs.New(errs.Forbidden, "this isn't for your side of the agreement to do").Under("agreement.side")
			}
			return s.To, nil
		}
	}
	return "", errs.New(errs.Precondition, "an agreement in state %s can't do this", from).Under("agreement.state")
}
