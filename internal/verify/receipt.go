package verify

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vogter/vogter/internal/certificate"
	"github.com/vogter/vogter/internal/consent/receipt"
	"github.com/vogter/vogter/internal/pack"
	"github.com/vogter/vogter/internal/sign"
)

// Files checks several files: receipts of one consent together, as a chain, and
// all others each on its own. It stops at the first problem.
func Files(names []string, o Options) ([]*Report, error) {
	var signed []string
	var reports []*Report
	for _, name := range names {
		more, err := receiptsIn(name)
		if err != nil {
			return nil, err
		}
		if more != nil {
			signed = append(signed, more...)
			continue
		}
		r, err := File(name, o)
		if err != nil {
			return nil, fmt.Errorf("verify %s: %w", name, err)
		}
		reports = append(reports, r)
	}
	if len(signed) == 0 {
		return reports, nil
	}
	r, err := receipts(signed, o.Trusted)
	if err != nil {
		return nil, fmt.Errorf("verify receipts: %w", err)
	}
	return append(reports, r), nil
}

// receiptsIn returns the receipts in a file, nil if it is anything else.
func receiptsIn(name string) ([]string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	if info.Size() > maxText {
		return nil, nil // no text, but a package
	}
	content, err := os.ReadFile(name) //nolint:gosec // G304: the file that the caller asks about
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	if certificate.Is(string(content)) {
		return nil, nil
	}
	return receipt.Split(content), nil
}

// receipts checks receipts of consent, and that they follow each other.
func receipts(signed []string, keys *sign.KeySet) (*Report, error) {
	if keys == nil {
		return nil, errNoKeys
	}
	opened := make([]*receipt.Receipt, len(signed))
	for i, s := range signed {
		r, err := receipt.Open(keys, s)
		if err != nil && len(signed) > 1 {
			return nil, fmt.Errorf("receipt in place %d: %w", i+1, err)
		}
		if err != nil {
			return nil, err
		}
		opened[i] = r
	}
	chain, err := receipt.Chain(opened)
	if err != nil {
		return nil, err
	}
	first, last := chain[0], chain[len(chain)-1]
	r := &Report{What: "CONSENT_RECEIPT", SignedBy: last.SignedBy, Root: keys.Root(), Keys: keys, Receipts: chain}
	if len(chain) > 1 {
		r.What = fmt.Sprintf("CONSENT_RECEIPTS, %d in a chain", len(chain))
	}
	r.Notes = append(r.Notes, fmt.Sprintf("consent %s to %s version %d, under notice %s version %d", last.Record.Identifier,
		last.Record.Process.Purpose.Key, last.Record.Process.Purpose.Version, strings.TrimPrefix(last.Record.Notice.ID, "urn:vogter:"),
		last.Record.Notice.Version))
	for _, c := range last.Record.Controllers {
		r.Notes = append(r.Notes, fmt.Sprintf("given to %s (%s)", c.Name, c.Identifier))
	}
	for _, e := range last.Record.Events {
		r.Notes = append(r.Notes, fmt.Sprintf("%s %s", e.Date.Format("2006-01-02 15:04:05.000 MST"), e.Status))
	}
	if first.Sequence > 1 {
		r.Notes = append(r.Notes, fmt.Sprintf("begins with receipt %d of the consent: those before weren't given", first.Sequence))
	}
	return r, nil
}

// Problem names what is wrong with a file.
type Problem string

// The problems.
const (
	Unknown   Problem = "UNKNOWN"   // nothing that the platform signs
	Untrusted Problem = "UNTRUSTED" // signed by a key that isn't known
	Altered   Problem = "ALTERED"   // altered, or something is missing
)

// ProblemOf returns the problem that an error of this package reports.
func ProblemOf(err error) Problem {
	p, ok := errors.AsType[*pack.Error](err)
	switch {
	case ok && p.What == sign.ErrUntrusted.Error():
		return Untrusted
	case errors.Is(err, ErrUnknown), errors.Is(err, sign.ErrForm):
		return Unknown
	case errors.Is(err, sign.ErrUntrusted):
		return Untrusted
	default:
		return Altered
	}
}
