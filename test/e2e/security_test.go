package e2e_test

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// securityEvent is an event of the register as the API shows it.
type securityEvent struct {
	ID, Detector, Disposition, Description, Severity string
	Occurrences, Version                             int64
	Activities                                       []struct{ Kind, Text, Disposition string }
}

const securityEventFields = `id detector disposition description severity occurrences version activities { kind text disposition }`

func (c client) securityEvents(t *testing.T) []securityEvent {
	t.Helper()
	return ask[struct {
		SecurityEvents struct{ Nodes []securityEvent }
	}](t, c, `{ securityEvents(first: 50) { nodes { `+securityEventFields+` } } }`, nil).SecurityEvents.Nodes
}

// openEvents are the open events of a detector.
func (c client) openEvents(t *testing.T, detector string) []securityEvent {
	t.Helper()
	return slices.DeleteFunc(c.securityEvents(t), func(e securityEvent) bool { return e.Detector != detector || e.Disposition != "OPEN" })
}

// TestSecurityEvents guesses the secret of an API key: one event, one mail to each
// who watches, and a webhook, while the count grows. Then it is disposed of.
func TestSecurityEvents(t *testing.T) {
	fresh := thePlatform.stack == nil
	p := running(t)
	owner, machine := p.member(t, second, "OWNER"), p.machine(t, second)
	if raised := append(owner.securityEvents(t), p.member(t, provider, "OPERATOR").securityEvents(t)...); fresh && len(raised) > 0 {
		t.Errorf("the demo's import raised %+v", raised)
	}
	normalDay(t, p, machine, owner)

	hook := newEndpoint(t)
	made, _ := machine.webhook(t, hook, "securityEvent.record")
	defer machine.unhook(t, made)
	wrong := client{machine.base, machine.token[:len(machine.token)-4] + "aaaa"}
	guess := func(n int) {
		t.Helper()
		for range n {
			if code := refused(t, wrong, `{ viewer { id } }`, nil); code != "UNAUTHENTICATED" {
				t.Fatalf("a wrong secret is answered with %s", code)
			}
		}
	}
	guess(25)
	began, raised := time.Now(), securityEvent{}
	eventually(t, 30*time.Second, "an event counts the guesses", func() bool {
		found := owner.openEvents(t, "CODES_GUESSED")
		if len(found) > 0 {
			raised = found[0]
		}
		return raised.Occurrences == 25
	})
	t.Logf("raised %.1f s after the last guess", time.Since(began).Seconds())
	if raised.Severity != "HIGH" || raised.Description == "" || len(raised.Activities) != 1 || raised.Activities[0].Kind != "RECORDED" {
		t.Errorf("raised %+v", raised)
	}
	guess(7)
	eventually(t, 30*time.Second, "it grows", func() bool { return owner.openEvents(t, "CODES_GUESSED")[0].Occurrences == 32 })
	if found := owner.openEvents(t, "CODES_GUESSED"); len(found) != 1 {
		t.Errorf("%d events of one attack", len(found))
	}
	eventually(t, 30*time.Second, "the endpoint is told", func() bool { return len(hook.about(raised.ID)) > 0 })
	told := func(address string) (n int) {
		for _, m := range mails(t, p) {
			if strings.Contains(m.Text, raised.ID) && slices.Contains(m.To, address) {
				n++
			}
		}
		return n
	}
	for _, m := range p.tenant(t, second).Members {
		watches := m.Role == "OWNER" || m.Role == "DPO"
		eventually(t, 30*time.Second, "those who watch are told", func() bool { return !watches || told(m.Email) > 0 })
		if n := told(m.Email); watches && n != 1 || !watches && n != 0 {
			t.Errorf("%d mails to the %s", n, m.Role)
		}
	}
	if n := len(hook.about(raised.ID)); n != 1 {
		t.Errorf("the endpoint was told %d times", n)
	}

	disposed := ask[struct {
		DisposeSecurityEvent struct{ Event securityEvent }
	}](t, owner, `mutation($input: DisposeSecurityEventInput!) { disposeSecurityEvent(input: $input) { event { `+securityEventFields+` } } }`,
		vars{"input": vars{"id": raised.ID, "expectedVersion": raised.Version, "disposition": "MITIGATED", "reason": "the key was rotated"}}).DisposeSecurityEvent.Event
	if disposed.Disposition != "MITIGATED" || len(disposed.Activities) != 2 || disposed.Activities[1].Text != "the key was rotated" {
		t.Errorf("disposed %+v", disposed)
	}
	stranger := p.member(t, first, "OWNER")
	if code := refused(t, stranger, `query($id: ID!) { securityEvent(id: $id) { id } }`, vars{"id": raised.ID}); code != "NOT_FOUND" {
		t.Errorf("another tenant: %s", code)
	}
	if slices.ContainsFunc(stranger.securityEvents(t), func(e securityEvent) bool { return e.ID == raised.ID }) {
		t.Error("another tenant lists it")
	}
}

// normalDay is work that nobody must be warned of.
func normalDay(t *testing.T, p *platform, machine, owner client) {
	t.Helper()
	before := len(owner.securityEvents(t))
	for range 5 {
		somebody := machine.createPerson(t, p.someone().input())
		machine.person(t, somebody.ID)
		owner.person(t, somebody.ID)
	}
	time.Sleep(5 * time.Second) // the detectors are at it every second
	if after := owner.securityEvents(t); len(after) != before {
		t.Errorf("a normal day raised %+v", after[:len(after)-before])
	}
}
