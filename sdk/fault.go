package sdk

import (
	"errors"
	"fmt"
	"strings"
)

// FaultKind is what sort of thing went wrong: a small closed set that decides
// the HTTP status and the command line's exit code.
type FaultKind string

// The kinds of fault.
const (
	Invalid         FaultKind = "invalid"         // the input is wrong; sending it again will not help
	NotFound        FaultKind = "not-found"       // it does not exist
	Conflict        FaultKind = "conflict"        // it changed meanwhile, or exists already
	Unauthenticated FaultKind = "unauthenticated" // who are you
	Denied          FaultKind = "denied"          // you may not
	TooLarge        FaultKind = "too-large"       // over a stated bound
	Exhausted       FaultKind = "exhausted"       // a quota, a queue or a disk is full
	Unplaceable     FaultKind = "unplaceable"     // no node can take it
	Timeout         FaultKind = "timeout"         // not in the time given
	Unavailable     FaultKind = "unavailable"     // not now; safe to try again
	Corrupt         FaultKind = "corrupt"         // stored data does not match its checksum
	Unsupported     FaultKind = "unsupported"     // this machine or version cannot do it
	Internal        FaultKind = "internal"        // a defect in Drupe
)

// Fault is an error as people and machines both need it: what kind, on what,
// what happened, why, and what to do. It crosses the wire whole.
type Fault struct {
	Kind    FaultKind `json:"kind"`
	Subject string    `json:"subject,omitempty"` // what it is about: "service/hello"
	Message string    `json:"message"`           // what happened, one line
	Why     string    `json:"why,omitempty"`     // the cause, with numbers
	Fix     string    `json:"fix,omitempty"`     // what to do about it
	Field   string    `json:"field,omitempty"`   // the place in the input
	cause   error
}

// Errorf makes a fault about subject.
func Errorf(kind FaultKind, subject, format string, args ...any) *Fault {
	err := fmt.Errorf(format, args...)
	return &Fault{Kind: kind, Subject: subject, Message: err.Error(), cause: errors.Unwrap(err)}
}

// Because returns f with its cause in words.
func (f *Fault) Because(format string, args ...any) *Fault {
	f.Why = fmt.Sprintf(format, args...)
	return f
}

// ToFix returns f with its remedy.
func (f *Fault) ToFix(format string, args ...any) *Fault {
	f.Fix = fmt.Sprintf(format, args...)
	return f
}

// At returns f with the place in the input.
func (f *Fault) At(field string) *Fault {
	f.Field = field
	return f
}

// Error returns "subject: message (why)".
func (f *Fault) Error() string {
	var b strings.Builder
	if f.Subject != "" {
		b.WriteString(f.Subject + ": ")
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Message)
	if f.Why != "" {
		b.WriteString(" (" + f.Why + ")")
	}
	return b.String()
}

// Unwrap returns the error that f was made from, if any.
func (f *Fault) Unwrap() error { return f.cause }

// KindOf returns the kind of err: Internal when it is no Fault, "" when nil.
func KindOf(err error) FaultKind {
	if err == nil {
		return ""
	}
	var f *Fault
	if errors.As(err, &f) {
		return f.Kind
	}
	return Internal
}
