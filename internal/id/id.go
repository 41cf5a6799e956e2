// Package id makes and checks the opaque ids of Vogter.
//
// An id is a type, an underscore, the tenant's 16 characters and 128 random
// bits: "sub_" + tenant + random, all in lower-case base32. So a foreign or
// mistyped id is refused before the database is asked, and ids of one tenant
// lie together in every index. An id says nothing about a person.
package id

import (
	"crypto/rand"
	"encoding/base32"
	"strings"

	"github.com/vogter/vogter/internal/errs"
	"github.com/vogter/vogter/internal/tenant"
)

// Type is the kind of thing that an id names: three lower-case letters.
type Type string

// The types of ids.
const (
	Tenant   Type = "ten"
	Member   Type = "mem"
	APIKey   Type = "key"
	Dataset  Type = "dst"
	Field    Type = "fld"
	Subject  Type = "sub"
	Relation Type = "rel"
	Record   Type = "rec"
	File     Type = "fil"
	Mapping  Type = "map"
	Import   Type = "imp"
	Export   Type = "exp"
	Job      Type = "job"
	Audit    Type = "aud"

	OAuthClient   Type = "oac"
	BreakGlass    Type = "brk"
	Challenge     Type = "chl" // of a one-time code
	Session       Type = "ses" // of a data subject
	Policy        Type = "pol"
	SecurityEvent Type = "sev"
	SecurityNote  Type = "sen" // of an event's history
	Message       Type = "msg"
	Webhook       Type = "whk"
	Delivery      Type = "dlv"
	AuditExport   Type = "aux"
	EpochClose    Type = "epc"
	Shredding     Type = "shr"
	KeyRotation   Type = "rot"
	Quarantine    Type = "qua" // of a data key

	Purpose     Type = "pur"
	Notice      Type = "ntc"
	Consent     Type = "cns"
	ConsentNote Type = "cne" // an event of a consent

	Invalidation Type = "inv" // of consents
	ErasureCheck Type = "ech" // when a consent has ended
	Party        Type = "pty" // of processing: recipients, controllers, processors
	System       Type = "sys"
	Measure      Type = "mea"
	Activity     Type = "act"
	Revision     Type = "rev" // of an activity
	Register     Type = "reg"
	Assessment   Type = "asm"
	Disclosure   Type = "dsc"
	Retention    Type = "rul"
	Hold         Type = "hld"
	Request      Type = "req"
	RequestItem  Type = "rqi"
	RequestNote  Type = "rqe" // an event of a request
	Task         Type = "tsk"
	TaskTemplate Type = "tkt"
	Told         Type = "rcn" // what a recipient is told of a request
	Letter       Type = "ltr"
	Certificate  Type = "crt"
	SentLetter   Type = "let" // a letter to a person

	RetentionItem Type = "rti"
	RetentionRun  Type = "rtr"

	Agreement         Type = "agr" // with a processor, Art. 28
	AgreementTemplate Type = "agt"
	AgreementVersion  Type = "agv"
	AgreementNote     Type = "agn" // an event of an agreement
	Instruction       Type = "ins" // of a controller to its processor
	SubProcessor      Type = "spr"
	ProcessorChange   Type = "spc" // of a sub-processor
	ProcessorNotice   Type = "spn" // of such a change, to one tenant
	Transfer          Type = "trf" // to a third country
	Breach            Type = "bre"
	BreachNote        Type = "brv" // an event of a breach
	BreachNotice      Type = "brn" // to an authority, a controller or persons
	Framework         Type = "frw"
	AuditPeriod       Type = "apd"
	ControlInstance   Type = "cin"
	Evidence          Type = "evd"
	Finding           Type = "exc" // an exception from a control
	AuditorTest       Type = "atr"
	AssuranceReport   Type = "arp"
	EvidencePackage   Type = "evp"
	Dossier           Type = "dos"
	Backup            Type = "bak"
	Drill             Type = "drl" // a restore test
	Closing           Type = "cls" // of a tenant
)

const (
	tenantBytes = 10 // 80 bits, exactly 16 base32 characters
	tenantChars = 16
	randomBytes = 16 // 128 bits, 26 base32 characters
	randomChars = 26
)

// ErrUnknown reports an id of another type or tenant, or none at all. It reads
// like an id that the tenant doesn't have, on purpose.
var ErrUnknown = errs.New(errs.NotFound, "no such object")

func encoding() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

// NewTenant returns a fresh tenant id.
func NewTenant() tenant.ID {
	return tenant.ID(string(Tenant) + "_" + random(tenantBytes))
}

// New returns a fresh id of type t within the tenant.
func New(t Type, of tenant.ID) string {
	return Prefix(t, of) + random(randomBytes)
}

// Prefix returns what all ids of type t of the tenant begin with.
func Prefix(t Type, of tenant.ID) string {
	return string(t) + "_" + strings.TrimPrefix(string(of), string(Tenant)+"_")
}

// Check returns ErrUnknown unless s is well formed, of type t and of the tenant.
func Check(t Type, of tenant.ID, s string) error {
	rest, ok := strings.CutPrefix(s, Prefix(t, of))
	if !ok || len(rest) != randomChars || !ValidTenant(of) {
		return ErrUnknown
	}
	if _, err := encoding().DecodeString(rest); err != nil {
		return ErrUnknown
	}
	return nil
}

// TypeOf returns the type that s claims, or "" when it claims none.
func TypeOf(s string) Type {
	t, _, ok := strings.Cut(s, "_")
	if !ok {
		return ""
	}
	return Type(t)
}

// TenantOf returns the tenant that s claims. The claim must be checked.
func TenantOf(s string) (tenant.ID, bool) {
	t, rest, ok := strings.Cut(s, "_")
	if !ok || len(t) != len(Tenant) || len(rest) < tenantChars {
		return "", false
	}
	of := tenant.ID(string(Tenant) + "_" + rest[:tenantChars])
	return of, ValidTenant(of)
}

// ValidTenant reports whether of is a well-formed tenant id.
func ValidTenant(of tenant.ID) bool {
	rest, ok := strings.CutPrefix(string(of), string(Tenant)+"_")
	if !ok || len(rest) != tenantChars {
		return false
	}
	_, err := encoding().DecodeString(rest)
	return err == nil
}

// Encode writes bytes in the alphabet of ids.
func Encode(b []byte) string { return encoding().EncodeToString(b) }

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return Encode(b)
}
