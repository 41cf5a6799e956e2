package personal

// State tells whether personal data can be shown.
type State string

// The states of a value that is answered.
const (
	Clear    State = "CLEAR"
	Masked   State = "MASKED"   // shown in part
	Withheld State = "WITHHELD" // not for this caller
	Erased   State = "ERASED"   // gone for good
)
