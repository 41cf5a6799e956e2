package consent

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"testing"
	"time"
)

// model is a naive model of DOMAIN §5.3: the table of transitions, row by row.
func model(from State, by Actor, to State) State {
	person := by == Self || by == Parent || by == Staff
	rows := []struct {
		from []State
		to   State
		who  bool
	}{
		{[]State{Unknown}, Requested, by == System},
		{[]State{Requested}, Given, person},
		{[]State{Requested}, Refused, person},
		{[]State{Requested}, Deferred, person},
		{[]State{Refused, Deferred}, Requested, by == System},
		{[]State{Given, Reconfirmed}, Withdrawn, person},
		{[]State{Given, Reconfirmed}, Expired, by == System},
		{[]State{Given, Reconfirmed}, Invalidated, by == Controller},
		{[]State{Given, Reconfirmed}, Revoked, by == Controller},
		{[]State{Given, Reconfirmed}, Reconfirmed, person},
	}
	for _, r := range rows {
		if slices.Contains(r.from, from) && r.to == to && r.who {
			return to
		}
	}
	return from
}

// dice are numbers that look random and are the same each time.
type dice struct{ seed, n uint64 }

func (d *dice) below(n int) int {
	d.n++
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d.seed)
	binary.BigEndian.PutUint64(b[8:], d.n)
	sum := sha256.Sum256(b[:])
	return int(binary.BigEndian.Uint32(sum[:4]) % uint32(n))
}

// TestDerive compares the derived state of random sequences, legal and not, with
// the model's, at every prefix; and that what is over stays over.
func TestDerive(t *testing.T) {
	actors := []Actor{Self, Parent, Staff, Controller, System}
	for seed := range uint64(3000) {
		random := dice{seed: seed}
		var events []Event
		want := Unknown
		for range 1 + random.below(25) {
			e := Event{State: States()[random.below(len(States()))], Actor: actors[random.below(len(actors))]}
			before := want
			want = model(want, e.Actor, e.State)
			events = append(events, e)
			got := Derive(events)
			if got != want {
				t.Fatalf("seed %d: %v lead to %s, want %s", seed, events, got, want)
			}
			if before.Over() && got != before {
				t.Fatalf("seed %d: a consent that was %s is %s", seed, before, got)
			}
		}
	}
}

func TestAddMonths(t *testing.T) {
	for _, tt := range []struct {
		from   string
		months int
		want   string
	}{
		{"2024-01-31T10:00:00Z", 1, "2024-02-29T10:00:00Z"},
		{"2023-01-31T10:00:00Z", 1, "2023-02-28T10:00:00Z"},
		{"2024-08-31T23:59:59.5Z", 6, "2025-02-28T23:59:59.5Z"},
		{"2024-02-29T00:00:00Z", 24, "2026-02-28T00:00:00Z"},
		{"2024-12-15T00:00:00Z", 1, "2025-01-15T00:00:00Z"},
	} {
		t.Run(tt.from+" "+strconv.Itoa(tt.months), func(t *testing.T) {
			from, err := time.Parse(time.RFC3339, tt.from)
			if err != nil {
				t.Fatal(err)
			}
			if got := addMonths(from, tt.months).Format(time.RFC3339Nano); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
