package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
)

// The exit codes. Scripts rely on them; they never change meaning.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitNotFound    = 3
	ExitDenied      = 4
	ExitConflict    = 5
	ExitUnplaceable = 6
	ExitDeploy      = 7
	ExitUnreachable = 8
	ExitInvalid     = 9
	ExitTimeout     = 124
	ExitInterrupted = 130
)

// exitCodes is the table that help, README and tests show.
var exitCodes = []struct {
	code int
	text string
}{
	{ExitOK, "done"},
	{ExitFailed, "failed for another reason than those below"},
	{ExitUsage, "the command line is wrong"},
	{ExitNotFound, "there is no such thing"},
	{ExitDenied, "not signed in, or not allowed"},
	{ExitConflict, "it changed meanwhile, or exists already"},
	{ExitUnplaceable, "waited, but no node can take it (see drupe why)"},
	{ExitDeploy, "waited, but the deployment failed"},
	{ExitUnreachable, "the cluster cannot be reached or has no leader; safe to try again"},
	{ExitInvalid, "a document is not valid"},
	{ExitTimeout, "waited, and the time ran out"},
	{ExitInterrupted, "interrupted; what was begun goes on in the cluster"},
}

// exitError carries an exit code that its fault's kind does not imply.
type exitError struct {
	error
	code int
	// shown: the command has told people already.
	shown bool
}

// Unwrap returns the error itself.
func (e *exitError) Unwrap() error { return e.error }

var errInterrupted = &exitError{error: context.Canceled, code: ExitInterrupted, shown: true}

// codeOf returns the exit code of an error.
func codeOf(err error) int {
	var e *exitError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	}
	switch sdk.KindOf(err) {
	case sdk.Invalid:
		return ExitUsage
	case sdk.NotFound:
		return ExitNotFound
	case sdk.Unauthenticated, sdk.Denied:
		return ExitDenied
	case sdk.Conflict:
		return ExitConflict
	case sdk.Unplaceable:
		return ExitUnplaceable
	case sdk.Unavailable:
		return ExitUnreachable
	}
	return ExitFailed
}

// finish tells people of an error, in at most three lines, and returns its exit
// code.
func (a *app) finish(err error) int {
	code := codeOf(err)
	var e *exitError
	if err == nil || errors.As(err, &e) && e.shown {
		return code
	}
	var f *sdk.Fault
	if !errors.As(err, &f) {
		f = sdk.Errorf(sdk.Internal, "", "%v", err)
	}
	what := f.Message
	if f.Field != "" {
		what = f.Field + ": " + what
	}
	if f.Subject != "" {
		what = f.Subject + ": " + what
	}
	fmt.Fprintf(a.err, "%s %s\n", a.paint(red, a.err, "error:"), oneLine(what))
	if f.Why != "" {
		fmt.Fprintf(a.err, "  why: %s\n", oneLine(f.Why))
	}
	if f.Fix != "" {
		fmt.Fprintf(a.err, "  fix: %s\n", oneLine(f.Fix))
	}
	return code
}

// oneLine keeps text from elsewhere from breaking the layout or steering the
// terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f:
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}

// usage makes err one of a wrong command line.
func usage(c *cobra.Command, err error) error { return usagef(c, "%v", err) }

func usagef(c *cobra.Command, format string, args ...any) error {
	return &exitError{code: ExitUsage, error: sdk.Errorf(sdk.Invalid, "", format, args...).
		ToFix("see: %s --help", c.CommandPath())}
}

// unknownCommand names what was perhaps meant.
func unknownCommand(parent *cobra.Command, name string) error {
	f := sdk.Errorf(sdk.Invalid, "", "%s has no command %q", parent.CommandPath(), name).
		ToFix("see: %s --help", parent.CommandPath())
	parent.SuggestionsMinimumDistance = 2
	if s := parent.SuggestionsFor(name); len(s) > 0 {
		f.ToFix("did you mean: %s %s", parent.CommandPath(), strings.Join(s, " or "))
	}
	return &exitError{code: ExitUsage, error: f}
}
