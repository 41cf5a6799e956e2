package agreement

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vogter/vogter/internal/authz"
	"github.com/vogter/vogter/internal/change"
	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/id"
	"github.com/vogter/vogter/internal/job"
	"github.com/vogter/vogter/internal/notify"
	"github.com/vogter/vogter/internal/page"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/tenancy"
	"github.com/vogter/vogter/internal/tenant"
)

// Channel is how an instruction was given.
type Channel string

// The channels.
const (
	ByPlatform Channel = "PLATFORM"
	ByMail     Channel = "EMAIL"
	ByLetter   Channel = "LETTER"
	ByMeeting  Channel = "MEETING"
	ByPhone    Channel = "PHONE"
)

// InstructionState is where an instruction stands.
type InstructionState string

// The states. The processor may hold back from following what it has objected to.
const (
	Given     InstructionState = "GIVEN"
	Accepted  InstructionState = "ACCEPTED" // assessed as lawful
	Objected  InstructionState = "OBJECTED" // Art. 28(3), last subparagraph
	Upheld    InstructionState = "UPHELD"   // by the controller, who takes responsibility
	Withdrawn InstructionState = "WITHDRAWN"
)

// Instruction is a documented instruction of the controller, Art. 28(3)(a). Text,
// sender, objection and answer may name persons, and are sealed.
type Instruction struct {
	ID         string
	Agreement  string
	Text       personal.Text
	Channel    Channel
	GivenBy    personal.Text // the name of who gave it; who wrote it down is RecordedBy
	GivenAt    time.Time
	RecordedBy string // id of the member
	State      InstructionState
	AssessedBy *string
	AssessedAt *time.Time
	Objection  personal.Text
	Answer     personal.Text
	AnsweredBy *string
	AnsweredAt *time.Time
	Version    int64
	CreatedAt  time.Time
}

// Inputs of instructions.
type (
	// InstructInput writes an instruction down.
	InstructInput struct {
		Text    personal.Text
		Channel Channel
		GivenBy personal.Text
		GivenAt *time.Time // now when nil
	}
	// AssessInput says whether the processor thinks an instruction lawful.
	AssessInput struct {
		ID              string
		ExpectedVersion int64
		Lawful          bool
		Objection       *personal.Text // why not
	}
	// AnswerInput answers an objection.
	AnswerInput struct {
		ID              string
		ExpectedVersion int64
		Withdraw        bool
		Answer          personal.Text
	}
)

// Sentinels of instructions.
var (
	ErrNoInstruction = errs.New(errs.NotFound, "no such instruction")
	ErrInstructed    = errs.New(errs.Precondition, "the instruction isn't waiting for this").Under("instruction.state")
	ErrNoAgreement   = errs.New(errs.Precondition, "an instruction is given under an agreement, and none is in force").Under("agreement.inForce")
)

// Instruct writes an instruction down, under the agreement in force. It obeys the
// caller's Idempotency-Key.
func (s *Service) Instruct(ctx context.Context, in InstructInput) (*Instruction, error) {
	of, err := tenant.FromContext(ctx)
	if err != nil {
		return nil, err
	}
	now := s.at()
	i := &Instruction{
		ID: id.New(id.Instruction, of), Channel: in.Channel, GivenAt: now, RecordedBy: authz.FromContext(ctx).ID, State: Given, Version: 1, CreatedAt: now,
		GivenBy: personal.NewText(strings.TrimSpace(in.GivenBy.Reveal())),
	}
	if i.Text, err = prose(in.Text, "text"); err != nil {
		return nil, err
	}
	switch in.Channel {
	case ByPlatform, ByMail, ByLetter, ByMeeting, ByPhone:
	default:
		return nil, errs.New(errs.Invalid, "no such channel").At("channel")
	}
	if !line(i.GivenBy.Reveal()) {
		return nil, errs.New(errs.Invalid, "who gave it is a name of at most %d characters on one line", maxLine).At("givenBy")
	}
	if in.GivenAt != nil {
		if i.GivenAt = in.GivenAt.UTC().Truncate(time.Millisecond); i.GivenAt.After(now) {
			return nil, errs.New(errs.Invalid, "an instruction was given at a time that is past").At("givenAt")
		}
	}
	if _, err := s.Vault.Ensure(ctx, tenancy.Contact(of)); err != nil {
		return nil, err
	}
	instructionID, err := s.Changes.Create(ctx, func(ctx context.Context) (change.Change, error) {
		standing, err := s.Store.Standing(ctx)
		if err != nil {
			return change.Change{}, err
		}
		if standing.Agreement == "" {
			return change.Change{}, ErrNoAgreement
		}
		i.Agreement = standing.Agreement
		return change.Change{Action: "instruction.record", Object: i.ID}, s.Store.InsertInstruction(ctx, i)
	})
	if err != nil {
		return nil, err
	}
	return s.Instruction(ctx, instructionID)
}

func prose(t personal.Text, field string) (personal.Text, error) {
	v := strings.TrimSpace(t.Reveal())
	if v == "" || !utf8.ValidString(v) || utf8.RuneCountInString(v) > maxValue {
		return t, errs.New(errs.Invalid, "this is a text of 1 to %d characters", maxValue).At(field)
	}
	return personal.NewText(v), nil
}

// Instruction returns an instruction, or ErrNoInstruction.
func (s *Service) Instruction(ctx context.Context, instructionID string) (*Instruction, error) {
	within, _, err := reach(ctx, id.Instruction, instructionID, ErrNoInstruction)
	if err != nil {
		return nil, err
	}
	return s.Store.Instruction(within, instructionID)
}

// Instructions returns a page of the tenant's instructions, the newest first. The
// provider's people name the tenant.
func (s *Service) Instructions(ctx context.Context, of *string, r page.Request) (*InstructionConnection, error) {
	within, _, err := s.customer(ctx, of)
	if err != nil {
		return nil, err
	}
	at := func(i *Instruction) page.Position { return page.Position{CreatedAt: i.CreatedAt, ID: i.ID} }
	return page.Read(within, page.List{Of: id.Instruction}, r, at, s.Store.Instructions)
}

// Assess says for the processor whether an instruction is lawful. If it isn't, the
// controller's owners are told at once.
func (s *Service) Assess(ctx context.Context, in AssessInput) (*Instruction, error) {
	if !operator(ctx) {
		return nil, ErrProvider
	}
	var objection personal.Text
	var owners []*tenancy.Member
	within, _, err := reach(ctx, id.Instruction, in.ID, ErrNoInstruction)
	if err != nil {
		return nil, err
	}
	if in.Lawful == (in.Objection != nil) {
		return nil, errs.New(errs.Invalid, "an objection says why the instruction infringes data protection law, and a lawful one has none").At("objection")
	}
	if in.Objection != nil {
		if objection, err = prose(*in.Objection, "objection"); err != nil {
			return nil, err
		}
		if owners, err = s.Owners.Owners(within); err != nil {
			return nil, err
		}
	}
	by, now := authz.FromContext(ctx).ID, s.at()
	return s.settle(ctx, in.ID, in.ExpectedVersion, "instruction.assess", Given, func(ctx context.Context, i *Instruction) ([]job.Spec, error) {
		i.State, i.AssessedBy, i.AssessedAt, i.Objection = Accepted, &by, &now, objection
		if !in.Lawful {
			i.State = Objected
		}
		var sent []job.Spec
		for _, m := range owners {
			of, err := tenant.FromContext(ctx)
			if err != nil {
				return nil, err
			}
			spec, err := s.Mail.Queue(ctx, notify.Message{
				Template: notify.TemplateInstruction, Language: m.Language, To: m.Email, Owner: tenancy.MemberIdentity(of, m.ID),
				Vars: map[string]personal.Text{"instruction": personal.NewText(i.ID)},
			})
			if err != nil {
				return nil, err
			}
			sent = append(sent, spec)
		}
		return sent, nil
	})
}

// Answer answers the processor's objection for the controller: the instruction is
// withdrawn, or upheld with reasons.
func (s *Service) Answer(ctx context.Context, in AnswerInput) (*Instruction, error) {
	answer, err := prose(in.Answer, "answer")
	if err != nil {
		return nil, err
	}
	by, now := authz.FromContext(ctx).ID, s.at()
	return s.settle(ctx, in.ID, in.ExpectedVersion, "instruction.answer", Objected, func(_ context.Context, i *Instruction) ([]job.Spec, error) {
		i.State, i.Answer, i.AnsweredBy, i.AnsweredAt = Upheld, answer, &by, &now
		if in.Withdraw {
			i.State = Withdrawn
		}
		return nil, nil
	})
}

func (s *Service) settle(
	ctx context.Context, instructionID string, expected int64, action string, from InstructionState,
	mutate func(ctx context.Context, i *Instruction) ([]job.Spec, error),
) (*Instruction, error) {
	within, _, err := reach(ctx, id.Instruction, instructionID, ErrNoInstruction)
	if err != nil {
		return nil, err
	}
	err = s.Changes.Do(within, func(ctx context.Context) (change.Change, error) {
		i, err := s.Store.Instruction(ctx, instructionID)
		if err != nil {
			return change.Change{}, err
		}
		switch {
		case i.Version != expected:
			return change.Change{}, change.ErrVersion
		case i.State != from:
			return change.Change{}, ErrInstructed
		}
		i.Version++
		then, err := mutate(ctx, i)
		if err != nil {
			return change.Change{}, err
		}
		return change.Change{Action: action, Object: i.ID, Then: then}, s.Store.UpdateInstruction(ctx, i)
	})
	if err != nil {
		return nil, err
	}
	return s.Instruction(ctx, instructionID)
}
