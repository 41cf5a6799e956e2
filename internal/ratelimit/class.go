package ratelimit

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vogter/vogter/internal/errs"
)

// Class is a kind of use that is bounded.
type Class string

// The classes, with whom they are counted by.
const (
	Network   Class = "network"   // all calls of a network; a refused credential counts as 20
	Anonymous Class = "anonymous" // calls without a credential, by network
	Requests  Class = "requests"  // calls of a principal
	Points    Class = "points"    // what GraphQL documents cost, in fields; by principal
	Uploads   Class = "uploads"   // files that are sent, by tenant
	Imports   Class = "imports"   // imports that are started, by tenant
	Exports   Class = "exports"   // exports that are asked for, by tenant
	Downloads Class = "downloads" // files that are fetched, by principal or, of links, by network

	SignInNetwork Class = "signin.network" // failed sign-ins, by network
	SignInPair    Class = "signin.pair"    // failed sign-ins, by account and network
	SignInAccount Class = "signin.account" // failed sign-ins, by account, from everywhere

	CodeIdentifier Class = "code.identifier" // codes sent, by tenant and hash of the identifier
	CodeNetwork    Class = "code.network"    // codes asked for, by network
	CodeAttempt    Class = "code.attempt"    // codes tried, by challenge
	CodeGuess      Class = "code.guess"      // wrong codes, by network

	RequestNetwork Class = "request.network" // requests of persons who haven't signed in, by network
	RequestContact Class = "request.contact" // the same, by tenant and hash of where the answer is to go
)

// Limit is how much of a class may be used.
type Limit struct {
	Quota  int64
	Window time.Duration

	// Closed says that nothing goes while Redis doesn't answer.
	Closed bool
	// Silent says that answers don't tell how much is left: others use it too.
	Silent bool
}

// Table has the limits of all classes.
type Table map[Class]Limit

// Defaults returns the limits that hold unless settings say otherwise.
//
// An account can be tried five times in 15 minutes from one network, and 50 times
// from everywhere; a network may fail on many accounts 100 times, so that one
// guesser doesn't shut out the rest of an office. A code has five attempts.
func Defaults() Table {
	const minute, quarter = time.Minute, 15 * time.Minute
	return Table{
		Network:   {Quota: 60_000, Window: minute},
		Anonymous: {Quota: 600, Window: minute},
		Requests:  {Quota: 12_000, Window: minute},
		Points:    {Quota: 4_000_000, Window: minute},
		Uploads:   {Quota: 3_000, Window: minute},
		Imports:   {Quota: 300, Window: minute},
		Exports:   {Quota: 300, Window: minute},
		Downloads: {Quota: 600, Window: minute},

		SignInNetwork: {Quota: 100, Window: quarter, Closed: true},
		SignInPair:    {Quota: 5, Window: quarter, Closed: true, Silent: true},
		SignInAccount: {Quota: 50, Window: quarter, Closed: true, Silent: true},

		CodeIdentifier: {Quota: 5, Window: time.Hour, Closed: true, Silent: true},
		CodeNetwork:    {Quota: 60, Window: time.Hour, Closed: true},
		CodeAttempt:    {Quota: 5, Window: time.Hour, Closed: true, Silent: true},
		CodeGuess:      {Quota: 100, Window: time.Hour, Closed: true},

		RequestNetwork: {Quota: 30, Window: time.Hour},
		RequestContact: {Quota: 5, Window: time.Hour, Silent: true},
	}
}

// ErrTable reports a setting that is no limit.
var ErrTable = errs.New(errs.Invalid, "limits are written as class=quota/window, with commas between: requests=6000/1m,code.attempt=3/1h")

// The longest window.
const longest = 24 * time.Hour

// Parse returns the Defaults with what a setting says instead, or ErrTable.
func Parse(setting string) (Table, error) {
	t := Defaults()
	if setting == "" {
		return t, nil
	}
	for entry := range strings.SplitSeq(setting, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(entry), "=")
		quota, window, _ := strings.Cut(value, "/")
		limit, ok := t[Class(name)]
		n, err := strconv.ParseInt(quota, 10, 32)
		w, werr := time.ParseDuration(window)
		if !ok || err != nil || werr != nil || n < 1 || w < time.Second || w > longest {
			return nil, ErrTable
		}
		limit.Quota, limit.Window = n, w
		t[Class(name)] = limit
	}
	return t, nil
}

// Classes returns the classes of a table in order of their names.
func (t Table) Classes() []Class { return slices.Sorted(maps.Keys(t)) }
