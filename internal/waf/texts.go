package waf

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/url"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/lexer"
)

// texts returns the texts in a body of a type: values, and names that are no ordinary
// ones, of JSON or of a form. The document of a GraphQL request stands for the texts
// in it. Any other body has none: its handler will refuse it, and is as strict.
func texts(contentType string, body []byte) []string {
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && kind == "application/x-www-form-urlencoded" {
		return fields(body)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil || dec.More() {
		return nil
	}
	var list []string
	if request, ok := v.(map[string]any); ok {
		if document, ok := request["query"].(string); ok {
			list = literals(list, document)
			delete(request, "query")
		}
	}
	return collect(list, v)
}

// fields returns the texts in a form, as far as it is one.
func fields(body []byte) (list []string) {
	form, _ := url.ParseQuery(string(body))
	for name, values := range form {
		if !ordinary(name) {
			list = append(list, name)
		}
		list = append(list, values...)
	}
	return list
}

// collect adds the texts of a JSON value.
func collect(list []string, v any) []string {
	switch v := v.(type) {
	case string:
		return append(list, v)
	case []any:
		for _, item := range v {
			list = collect(list, item)
		}
	case map[string]any:
		for name, member := range v {
			if !ordinary(name) {
				list = append(list, name)
			}
			list = collect(list, member)
		}
	}
	return list
}

// ordinary reports whether a member has a name that GraphQL would take.
func ordinary(name string) bool {
	return !strings.ContainsFunc(name, func(c rune) bool {
		return c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	})
}

// literals adds the texts and comments of a GraphQL document, as far as it is one:
// the handler reads it with the same lexer.
func literals(list []string, document string) []string {
	words := lexer.New(&ast.Source{Input: document})
	for {
		word, err := words.ReadToken()
		switch {
		case err != nil || word.Kind == lexer.EOF:
			return list
		case word.Kind == lexer.String || word.Kind == lexer.BlockString || word.Kind == lexer.Comment:
			list = append(list, word.Value)
		default:
		}
	}
}
