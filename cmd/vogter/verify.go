package main

import (
	"fmt"

	"github.com/vogter/vogter/internal/pack"
)

// verifyCmd checks a package offline.
type verifyCmd struct {
	File string `arg:"" type:"existingfile" help:"The package, a ZIP file."`
}

// Run prints OK with what the package holds, or returns the first problem.
func (c *verifyCmd) Run() error {
	r, err := pack.VerifyFile(c.File)
	if err != nil {
		return fmt.Errorf("verify the package: %w", err)
	}
	fmt.Printf("OK: %s, %d files, %d bytes\n", r.Type, r.Files, r.Bytes)
	for _, note := range r.Notes {
		fmt.Println(note)
	}
	return nil
}
