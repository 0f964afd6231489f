// Package diagnose holds what Drupe says about a mistake in a file, and how it
// is shown: in at most five lines with the place, the text and the remedy, or
// as JSON.
package diagnose

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/drupe-os/drupe/sdk"
)

// Code is what sort of mistake it is: a small closed set, for programs.
type Code string

// The codes.
const (
	Syntax       Code = "syntax"        // not CUE
	UnknownField Code = "unknown-field" // the schema has no such field there
	MissingField Code = "missing-field" // a required field is not given
	WrongType    Code = "wrong-type"    // text for a number and the like
	OutOfRange   Code = "out-of-range"  // right type, not allowed value
	Conflict     Code = "conflict"      // two places disagree
	Incomplete   Code = "incomplete"    // a type where a value is wanted
	OneOf        Code = "one-of"        // none or several of fields that exclude each other
	Unresolved   Code = "unresolved"    // a name or import that does not exist
	Inconsistent Code = "inconsistent"  // fields that do not fit each other
	Unreadable   Code = "unreadable"    // no such file, or nothing in it
)

// Diagnostic is one mistake. Line and Column count from 1; 0 means that the
// place is not known. Column counts bytes.
type Diagnostic struct {
	Code    Code   `json:"code"`
	Message string `json:"message"` // what is wrong, one line
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Width   int    `json:"width,omitempty"`   // bytes to mark from Column
	Source  string `json:"source,omitempty"`  // the text of the line
	Subject string `json:"subject,omitempty"` // the document: "service/hello"
	Field   string `json:"field,omitempty"`   // within the document: "run.container.image"
	Allowed string `json:"allowed,omitempty"` // what may stand there
	Help    string `json:"help,omitempty"`    // how to put it right
}

// Fault makes one fault of all diagnostics: the first in full, the number of
// the others. nil when there are none.
func Fault(diags []Diagnostic) *sdk.Fault {
	if len(diags) == 0 {
		return nil
	}
	d := diags[0]
	f := sdk.Errorf(sdk.Invalid, d.Subject, "%s", d.Message).At(d.Field)
	f.Fix = d.Help
	if d.Allowed != "" {
		f.Why = "allowed: " + d.Allowed
	}
	if n := len(diags) - 1; n > 0 {
		f.Message += fmt.Sprintf("; %d more", n)
	}
	return f
}

// Colours of the rendered form.
const (
	red   = "\x1b[1;31m"
	bold  = "\x1b[1m"
	blue  = "\x1b[34m"
	green = "\x1b[32m"
	reset = "\x1b[0m"
)

// Render writes diagnostics for people, each in at most five lines:
//
//	error: unknown field "netwrok"
//	  --> web.cue:7:2  (service/web: run.container.netwrok)
//	   7 | netwrok: "host"
//	     | ^^^^^^^ did you mean "network"?
//	     = allowed: image, command, args
//
// Errors: those of w.
func Render(w io.Writer, diags []Diagnostic, color bool) error {
	paint := func(c, s string) string {
		if !color || s == "" {
			return s
		}
		return c + s + reset
	}
	var b strings.Builder
	for i, d := range diags {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(paint(red, "error") + ": " + paint(bold, d.Message) + "\n")
		if where := d.place(); where != "" {
			b.WriteString(paint(blue, "  --> ") + where + "\n")
		}
		help := d.Help
		if d.Source != "" {
			line, caret := excerpt(d)
			fmt.Fprintf(&b, "%s%s\n", paint(blue, fmt.Sprintf("%4d | ", d.Line)), line)
			b.WriteString(paint(blue, "     | ") + paint(red, caret))
			if help != "" {
				b.WriteString(" " + paint(green, help))
			}
			b.WriteByte('\n')
		} else if help != "" {
			b.WriteString(paint(blue, "     = ") + paint(green, "help: "+help) + "\n")
		}
		if d.Allowed != "" {
			b.WriteString(paint(blue, "     = ") + "allowed: " + d.Allowed + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// place returns "file:line:col  (document: field)".
func (d Diagnostic) place() string {
	var b strings.Builder
	if d.File != "" {
		b.WriteString(d.File)
		if d.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", d.Line, d.Column)
		}
	}
	what := d.Subject
	if d.Field != "" {
		if what != "" {
			what += ": "
		}
		what += d.Field
	}
	if what != "" {
		if b.Len() > 0 {
			b.WriteString("  ")
		}
		b.WriteString("(" + what + ")")
	}
	return b.String()
}

// maxLine bounds the shown part of a source line, in characters.
const maxLine = 100

// excerpt returns the source line as shown and the carets under it. Tabs become
// one space, so that both stay in step; leading space is cut; a long line is
// cut around the mark.
func excerpt(d Diagnostic) (line, caret string) {
	src := strings.ToValidUTF8(d.Source, "?")
	col := min(max(d.Column-1, 0), len(src))
	width := max(min(d.Width, len(src)-col), 1)
	before := utf8.RuneCountInString(src[:col])
	marked := 1
	if end := col + width; end <= len(src) {
		marked = max(utf8.RuneCountInString(src[col:end]), 1)
	}
	runes := []rune(strings.Map(printable, src))
	trim := 0
	for trim < before && runes[trim] == ' ' {
		trim++
	}
	runes, before = runes[trim:], before-trim
	if before > maxLine/2 {
		cut := before - maxLine/4
		runes, before = append([]rune("…"), runes[cut:]...), before-cut+1
	}
	if len(runes) > maxLine {
		runes = append(runes[:maxLine:maxLine], '…')
	}
	marked = max(min(marked, len(runes)-before), 1)
	return string(runes), strings.Repeat(" ", before) + strings.Repeat("^", marked)
}

// printable keeps a hostile file from steering the terminal.
func printable(r rune) rune {
	switch {
	case r == '\t':
		return ' '
	case r < ' ', r == 0x7f:
		return '?'
	}
	return r
}
