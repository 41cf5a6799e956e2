package verify_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vogter/vogter/internal/consent"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/personal"
	"github.com/vogter/vogter/internal/purpose"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/testenv"
	"github.com/vogter/vogter/internal/verify"
)

// receipts are those of a consent that was asked for, given and withdrawn.
func receipts(t *testing.T, ring *sign.Ring, consentID string) []string {
	t.Helper()
	given := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	src := receipt.Source{
		Consent: &consent.Consent{ID: consentID, SubjectID: "sub_1"},
		Purpose: &purpose.Purpose{Edition: purpose.Edition{ID: "pur_1", Key: "letters", Version: 2}, Texts: []purpose.Text{{Language: "en", Name: "Letters"}}},
		Notice: &purpose.Notice{
			Edition: purpose.Edition{ID: "ntc_1", Version: 3, PublishedAt: &given},
			Facts:   purpose.Facts{Controllers: []purpose.Party{{ID: "CVR 1", Role: "dpv:DataController", Name: "Eksempel ApS"}}},
			Texts:   []purpose.NoticeText{{Language: "en", Title: "News"}},
		},
	}
	for i, state := range []consent.State{consent.Requested, consent.Given, consent.Withdrawn} {
		src.Events = append(src.Events, &consent.Event{
			ID: "cne_1", State: state, Actor: consent.Self, Channel: consent.Web, At: given.AddDate(0, 0, i),
			Evidence: &consent.Evidence{Language: "en"}, EvidenceState: personal.Clear,
		})
	}
	payloads, err := receipt.Documents(src)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range payloads {
		signed, err := ring.SignJWS(t.Context(), sign.Receipt, receipt.Type, p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, signed)
	}
	return all
}

func TestReceipts(t *testing.T) {
	ring := testenv.NewRing(t)
	all, other := receipts(t, ring, "cns_1"), receipts(t, ring, "cns_2")
	note, err := ring.Sign(t.Context(), sign.Certificate, sign.Text("vogter/test/1", "a line"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ring.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost := keys.Keys()
	lost = slices.DeleteFunc(slices.Clone(lost), func(k sign.Key) bool { return k.Purpose == sign.Receipt })
	dir := t.TempDir()
	for name, tt := range map[string]struct {
		files []string
		keys  *sign.KeySet
		want  []string // what the reports say it is, or one that begins with ! and is in the error
		note  string
	}{
		"one":               {all[1:2], keys, []string{"CONSENT_RECEIPT"}, "begins with receipt 2 of the consent: those before weren't given"},
		"a chain in a file": {[]string{strings.Join(all, "\n")}, keys, []string{"CONSENT_RECEIPTS, 3 in a chain"}, "2026-03-03 12:00:00.000 UTC dpv:ConsentWithdrawn"},
		"a chain in files":  {[]string{all[2] + "\n", all[0], all[1]}, keys, []string{"CONSENT_RECEIPTS, 3 in a chain"}, "given to Eksempel ApS (CVR 1)"},
		"with another":      {[]string{string(note), all[0]}, keys, []string{"CERTIFICATE", "CONSENT_RECEIPT"}, "consent cns_1 to letters version 2, under notice ntc_1 version 3"},
		"a gap":             {[]string{all[0], all[2]}, keys, []string{"!receipt 2 is missing"}, ""},
		"two consents":      {[]string{all[0], other[1]}, keys, []string{"!different consents"}, ""},
		"altered":           {[]string{all[0], strings.Replace(all[1], ".eyJ", ".eyK", 1)}, keys, []string{"!receipt in place 2: altered"}, ""},
		"no keys":           {all[:1], nil, []string{"!give --keys"}, ""},
		"other keys":        {all[:1], sign.NewKeySet(lost...), []string{"!not signed by any key that is trusted"}, ""},
		"half a receipt":    {[]string{all[0][:100]}, keys, []string{"!nothing that this vogter knows"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var names []string
			for i, content := range tt.files {
				path := filepath.Join(dir, t.Name()[strings.LastIndex(t.Name(), "/")+1:]+string(rune('a'+i)))
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
				names = append(names, path)
			}
			reports, err := verify.Files(names, verify.Options{Trusted: tt.keys})
			if wrong, ok := strings.CutPrefix(tt.want[0], "!"); ok {
				if err == nil || !strings.Contains(err.Error(), wrong) {
					t.Errorf("got %+v, %v", reports, err)
				}
				return
			}
			var what, notes []string
			for _, r := range reports {
				what, notes = append(what, r.What), append(notes, r.Notes...)
			}
			if err != nil || !slices.Equal(what, tt.want) || !slices.Contains(notes, tt.note) {
				t.Errorf("got %q with %q, %v", what, notes, err)
			}
		})
	}
	if _, err := verify.Files([]string{filepath.Join(dir, "nosuch")}, verify.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that isn't there: %v", err)
	}
}
