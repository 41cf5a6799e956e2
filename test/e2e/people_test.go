package e2e_test

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strings"
)

// human is an invented person.
type human struct {
	given, family, name, birthDate, phone, email, reference string
}

// someone invents a person whose every value is noted as one that must not be
// found anywhere.
func (p *platform) someone() human {
	mark := rand.Text()[:16]
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	h := human{
		given: "Sørine" + mark[:6], family: "Þorvald-Ægir" + mark[6:], birthDate: "1961-04-05",
		phone:     fmt.Sprintf("+4526%06d", binary.BigEndian.Uint32(b[:])%1_000_000),
		email:     strings.ToLower(mark) + "@persons.example",
		reference: "customer/" + mark,
	}
	h.name = h.given + " " + h.family
	p.plant(h.given, h.family, h.name, h.phone, h.email, h.reference)
	return h
}

// input is the person as a CreateSubjectInput.
func (h human) input() vars {
	return vars{
		"reference": h.reference, "name": vars{"given": h.given, "family": h.family}, "birthDate": h.birthDate,
		"emails": []string{h.email}, "phones": []string{h.phone},
	}
}
