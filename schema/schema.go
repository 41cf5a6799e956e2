// Package schema holds the contract of the GraphQL API, one file per capability.
package schema

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed *.graphql
var files embed.FS

// SDL returns the whole schema, the capabilities in alphabetical order.
func SDL() (string, error) {
	names, err := fs.Glob(files, "*.graphql")
	if err != nil {
		return "", err
	}
	parts := make([]string, len(names))
	for i, name := range names {
		b, err := files.ReadFile(name)
		if err != nil {
			return "", err
		}
		parts[i] = string(b)
	}
	return strings.Join(parts, "\n"), nil
}
