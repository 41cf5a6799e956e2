package cli

import (
	"encoding/json"
	"io"
	"os"
	"reflect"
	"testing"
)

// printed runs a command and returns what it prints.
func printed(t *testing.T, args ...string) (string, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = was }()
	failed := run(t.Context(), args, nil)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), failed
}

func deadlineArgs(more ...string) []string {
	return append([]string{"admin", "deadline", "--received", "2026-05-04T09:00:00+02:00", "--zone", "Europe/Copenhagen", "--calendar", "DK"}, more...)
}

func TestDeadline(t *testing.T) {
	type object struct {
		DueDate                string   `json:"dueDate"`
		DueBefore              string   `json:"dueBefore"`
		ExtensionNoticeDueDate string   `json:"extensionNoticeDueDate"`
		BaseDue                string   `json:"baseDue"`
		Trace                  []string `json:"trace"`
	}
	for _, c := range []struct {
		name  string
		args  []string
		want  object
		first string
	}{
		{"plain", deadlineArgs(), object{"2026-06-04", "2026-06-04T22:00:00Z", "2026-06-04", "2026-06-04", nil}, "Received on Monday 4 May 2026 at 09:00 (Europe/Copenhagen). That day does not count."},
		{"extended, in Danish", deadlineArgs("--extended", "--language", "da"), object{"2026-08-04", "2026-08-04T22:00:00Z", "2026-06-04", "2026-06-04", nil}, "Modtaget mandag den 4. maj 2026 kl. 09.00 (Europe/Copenhagen). Den dag tæller ikke med."},
		{
			"two pauses, as of a version of the calendar",
			deadlineArgs("--pause", "2026-05-05T10:00:00+02:00..2026-05-07T10:00:00+02:00", "--pause", "2026-05-11T10:00:00+02:00..2026-05-14T10:00:00+02:00", "--calendar", "DK/1"),
			object{"2026-06-09", "2026-06-09T22:00:00Z", "2026-06-09", "2026-06-04", nil},
			"Received on Monday 4 May 2026 at 09:00 (Europe/Copenhagen). That day does not count.",
		},
	} {
		out, err := printed(t, c.args...)
		var got object
		if err != nil || json.Unmarshal([]byte(out), &got) != nil || len(got.Trace) == 0 || got.Trace[0] != c.first {
			t.Errorf("%s: %v: %s", c.name, err, out)
		}
		got.Trace = nil
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestDeadlineInput(t *testing.T) {
	for name, args := range map[string][]string{
		"no receipt":        {"admin", "deadline", "--zone", "Europe/Copenhagen", "--calendar", "DK"},
		"a date":            deadlineArgs("--received", "2026-05-04"),
		"no zone":           deadlineArgs("--zone", "Copenhagen"),
		"the machine's":     deadlineArgs("--zone", "Local"),
		"no calendar":       deadlineArgs("--calendar", "XX"),
		"a version to come": deadlineArgs("--calendar", "DK/99"),
		"a tenant's":        deadlineArgs("--calendar", "DK/1+2"),
		"half a pause":      deadlineArgs("--pause", "2026-05-05T10:00:00+02:00"),
		"an open pause":     deadlineArgs("--pause", "2026-05-05T10:00:00+02:00.."),
		"early pause":       deadlineArgs("--pause", "2026-05-01T10:00:00+02:00..2026-05-05T10:00:00+02:00"),
		"language":          deadlineArgs("--language", "fr"),
		"unknown":           deadlineArgs("--prolonged"),
	} {
		out, err := printed(t, args...)
		if err == nil || exitCode(err) != 2 || out != "" {
			t.Errorf("%s: %v, %q", name, err, out)
		}
	}
}
