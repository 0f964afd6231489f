package load

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cuelang.org/go/cue/errors"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/schema"
)

// habit is a line of another language in a CUE file.
type habit struct {
	line *regexp.Regexp
	say  func(m []string) (message, help string)
}

var habitLines = []habit{
	{regexp.MustCompile(`^\s*-\s+(\S+)`), func(m []string) (string, string) {
		return "this is a list as YAML writes it", "write [a, b], or NAME: {…} where things are keyed by name"
	}},
	{regexp.MustCompile(`(\w+)\s*=\s*([^=]|$)`), func(m []string) (string, string) {
		return "CUE sets a field with \":\", not \"=\"", "write " + m[1] + ": …"
	}},
	{regexp.MustCompile(`^\s*(\w+)\s+"([^"]*)"\s*\{`), func(m []string) (string, string) {
		kind := m[1]
		if slices.Contains(schema.Kinds(), kind) {
			kind = schema.Plural(kind)
		}
		return "this is a block as HCL writes it", fmt.Sprintf("write %s: %q: {", kind, m[2])
	}},
	{regexp.MustCompile(`\b([0-9]+(?:\.[0-9]+)?)m\b`), func(m []string) (string, string) {
		return "a number has no suffix m", "for CPU write cores: " + milli(m[1]) + "; for memory write " + m[1] + "Mi"
	}},
	{regexp.MustCompile(`\b([0-9]+(?:\.[0-9]+)?)([KMGT])(?:i?[Bb])\b`), func(m []string) (string, string) {
		return "a size has no B", "write " + m[1] + m[2] + "i"
	}},
	{regexp.MustCompile(`\b([0-9]+(?:\.[0-9]+)?)(ms|s|h)\b`), func(m []string) (string, string) {
		return "a span of time is text", fmt.Sprintf("write %q", m[1]+m[2])
	}},
	{regexp.MustCompile(`:\s*'`), func(m []string) (string, string) {
		return "text stands in double quotes", `write "…"`
	}},
	{regexp.MustCompile(`^\s*(//)?---`), func(m []string) (string, string) {
		return "CUE has no document separator", "take the line out"
	}},
	{regexp.MustCompile(`:\s*([A-Za-z0-9_.-]+[/:][^"\s,]*)\s*$`), func(m []string) (string, string) {
		return "text stands in double quotes", fmt.Sprintf("write %q", m[1])
	}},
}

func milli(s string) string {
	whole := strings.Repeat("0", max(0, 4-len(s))) + s
	out := whole[:len(whole)-3] + "." + strings.TrimRight(whole[len(whole)-3:], "0")
	return strings.TrimSuffix(out, ".")
}

// syntax puts the parser's errors into words: the first of each line.
func syntax(f *file, err error) []diagnose.Diagnostic {
	var out []diagnose.Diagnostic
	for _, e := range errors.Errors(err) {
		pos := e.Position()
		if len(out) > 0 && out[len(out)-1].Line >= pos.Line()-1 {
			continue // one slip makes the parser stumble over the next lines too
		}
		format, args := e.Msg()
		d := diagnose.Diagnostic{Code: diagnose.Syntax, Message: fmt.Sprintf(format, args...)}
		f.mark(&d, pos, 1)
		explainSyntax(f, &d)
		out = append(out, d)
	}
	if len(out) == 0 {
		out = []diagnose.Diagnostic{{Code: diagnose.Syntax, File: f.name, Message: err.Error()}}
	}
	return out
}

// explainSyntax looks for a known slip in the line, or in the one before it
// where the parser noticed late.
func explainSyntax(f *file, d *diagnose.Diagnostic) {
	for n := d.Line; n >= max(1, d.Line-1); n-- {
		line := f.line(n)
		code, _, _ := strings.Cut(line, "//")
		for _, h := range habitLines {
			at := h.line.FindStringSubmatchIndex(code)
			if at == nil || insideQuotes(code, at[0]) {
				continue
			}
			d.Message, d.Help = h.say(h.line.FindStringSubmatch(code))
			from := at[0]
			if len(at) > 2 && at[2] >= 0 {
				from = at[2]
			}
			d.Line, d.Source, d.Column, d.Width = n, line, from+1, max(at[1]-from, 1)
			return
		}
	}
	switch m := d.Message; {
	case strings.Contains(m, "string literal not terminated"):
		d.Message, d.Help = "the text has no end", `close it with "`
	case strings.Contains(m, "missing ','"):
		d.Message, d.Help = "a comma is missing", "put a comma between the two, or each on a line of its own"
		if strings.Contains(m, "list") {
			d.Help = "put a comma between the elements"
		}
	case strings.Contains(m, "expected '}'"), strings.Contains(m, "found 'EOF'"):
		d.Message, d.Help = "a brace or bracket is not closed", "close it before the end of the file"
	case strings.Contains(m, "found '}'"), strings.Contains(m, "found ']'"):
		d.Help = "there is one too many, or something before it is missing"
	}
}

// insideQuotes reports whether a byte of a line lies within double quotes.
func insideQuotes(line string, at int) bool {
	return strings.Count(strings.ReplaceAll(line[:at], `\"`, ""), `"`)%2 == 1
}
