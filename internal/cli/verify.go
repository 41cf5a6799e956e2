package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/vogter/vogter/internal/audit"
	"github.com/vogter/vogter/internal/sign"
	"github.com/vogter/vogter/internal/verify"
)

// verifyCmd checks offline whatever the platform signs.
type verifyCmd struct {
	Files   []string `arg:"" name:"file" type:"existingfile" help:"A package or bundle (ZIP), a checkpoint, proof, certificate, receipt or key set. Receipts of one consent are checked as a chain."`
	Keys    string   `type:"existingfile" help:"The platform's public keys, from its /.well-known/jwks.json: what is signed by others is refused."`
	Entries bool     `help:"Print the entries of an audit bundle, one JSON object in each line."`
}

// Run prints OK with what the file is, or returns the first problem.
func (c *verifyCmd) Run() error {
	o := verify.Options{}
	if c.Keys != "" {
		b, err := os.ReadFile(c.Keys)
		if err != nil {
			return fmt.Errorf("read keys: %w", err)
		}
		if o.Trusted, err = sign.ParseKeySet(b); err != nil {
			return fmt.Errorf("read keys: %w", err)
		}
	}
	if c.Entries {
		o.Visit = printEntry
	}
	reports, err := verify.Files(c.Files, o)
	if err != nil {
		return err
	}
	for _, r := range reports {
		c.print(r)
	}
	return nil
}

func (c *verifyCmd) print(r *verify.Report) {
	fmt.Printf("OK: %s\n", r.What)
	for _, note := range r.Notes {
		fmt.Println(note)
	}
	if r.SignedBy != nil {
		fmt.Printf("signed by %s\n", r.SignedBy.ID())
	}
	if c.Keys == "" && r.Root != nil {
		fmt.Printf("The keys came with the file. To know whose they are, give --keys, or compare the root key's SHA-256:\n%s\n", r.Root.Fingerprint())
	}
}

// printEntry prints an entry of an audit bundle.
func printEntry(seq int64, leaf []byte) error {
	e, err := audit.ParseLeaf(leaf)
	if err != nil {
		return fmt.Errorf("entry %d: %w", seq, err)
	}
	b, err := json.Marshal(struct {
		Seq int64 `json:"seq"`
		*audit.Entry
	}{seq, e})
	if err != nil {
		return fmt.Errorf("entry %d: %w", seq, err)
	}
	fmt.Println(string(b))
	return nil
}
