// Package framework has the control framework that the platform is assured by:
// ISAE 3000 on data protection as it is used for processors in Denmark, its
// objectives A to I with their controls (DOMAIN §7.2). The texts are the
// platform's own.
package framework

import (
	_ "embed"
	"encoding/json"
	"sync"
)

//go:embed isae3000-gdpr-dk.json
var file []byte

// parse reads the embedded file once: it is the same for ever.
var parse = sync.OnceValue(func() (f struct {
	Version  int       `json:"version"`
	Controls []Control `json:"controls"`
},
) {
	if err := json.Unmarshal(file, &f); err != nil {
		panic("internal/framework: " + err.Error()) // the package's own test reads it
	}
	return f
})

// Control is a control of the framework.
type Control struct {
	Code      string   `json:"code"`      // as in B.8
	Objective string   `json:"objective"` // as in B
	Danish    string   `json:"text_da"`
	English   string   `json:"text_en"`
	Articles  []string `json:"articles"` // of the GDPR, as in 32(1)(a)
}

// Version returns the version of the texts.
func Version() int { return parse().Version }

// Controls returns all controls, in the order of their codes.
func Controls() []Control { return parse().Controls }

// Lookup returns the control with a code.
func Lookup(code string) (Control, bool) {
	for _, c := range parse().Controls {
		if c.Code == code {
			return c, true
		}
	}
	return Control{}, false
}
