package gate

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/drupe-os/drupe/sdk"
)

// ContentProblem is the media type of errors.
const ContentProblem = "application/problem+json"

// kindStatus is the HTTP status and title of each kind of fault.
var kindStatus = map[sdk.FaultKind]struct {
	status int
	title  string
}{
	sdk.Invalid:         {http.StatusUnprocessableEntity, "The input is not valid"},
	sdk.NotFound:        {http.StatusNotFound, "Not found"},
	sdk.Conflict:        {http.StatusConflict, "Conflict with what is there"},
	sdk.Unauthenticated: {http.StatusUnauthorized, "Not signed in"},
	sdk.Denied:          {http.StatusForbidden, "Not allowed"},
	sdk.TooLarge:        {http.StatusRequestEntityTooLarge, "Too large"},
	sdk.Exhausted:       {http.StatusTooManyRequests, "Full"},
	sdk.Unplaceable:     {http.StatusConflict, "No node can take it"},
	sdk.Timeout:         {http.StatusGatewayTimeout, "Not done in time"},
	sdk.Unavailable:     {http.StatusServiceUnavailable, "Not available now"},
	sdk.Corrupt:         {http.StatusInternalServerError, "Stored data is damaged"},
	sdk.Unsupported:     {http.StatusNotImplemented, "Not supported"},
	sdk.Internal:        {http.StatusInternalServerError, "A defect in Drupe"},
}

// withStatus answers a fault with a status other than its kind's: 400 for what
// could not even be read, 405 for a wrong method.
type withStatus struct {
	*sdk.Fault
	status int
}

// Unwrap makes the fault visible to errors.As.
func (w *withStatus) Unwrap() error { return w.Fault }

// malformed is the answer to input that could not be read.
func malformed(f *sdk.Fault) error { return &withStatus{f, http.StatusBadRequest} }

// problemOf turns any error into what the client gets. An error that is no
// fault is a defect: its text may hold anything, so it stays on the server.
func problemOf(err error) sdk.Problem {
	var f *sdk.Fault
	switch {
	case errors.As(err, &f):
	case errors.Is(err, context.DeadlineExceeded):
		f = sdk.Errorf(sdk.Timeout, "", "the server did not finish in time").
			ToFix("look whether it took effect, then try again")
	case errors.Is(err, context.Canceled):
		f = sdk.Errorf(sdk.Unavailable, "", "the request was given up")
	default:
		f = sdk.Errorf(sdk.Internal, "", "an internal error").ToFix("see the server's log")
	}
	s, ok := kindStatus[f.Kind]
	if !ok {
		s = kindStatus[sdk.Internal]
	}
	var w *withStatus
	if errors.As(err, &w) {
		s.status = w.status
	}
	return sdk.Problem{Status: s.status, Code: f.Kind, Title: s.title, Detail: f.Message,
		Why: f.Why, Fix: f.Fix, Field: f.Field, Subject: f.Subject}
}

// fail answers with err and returns the status sent.
func fail(w http.ResponseWriter, err error) int {
	p := problemOf(err)
	h := w.Header()
	h.Set("Content-Type", ContentProblem)
	h.Del(sdk.IndexHeader)
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="drupe"`)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p)
	return p.Status
}
