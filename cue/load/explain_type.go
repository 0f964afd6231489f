package load

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/token"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/schema"
)

// wrongType explains text where a number is wanted, and the like.
func (u *unit) wrongType(path []string, e errors.Error, args []any) *finding {
	name := path[len(path)-1]
	d := diagnose.Diagnostic{Code: diagnose.WrongType}
	entries := u.entries(path, e)
	have, shown := "another type", ""
	if len(entries) > 0 {
		have, shown = kindOf(entries[0].value()), source(entries[0].file, entries[0].value())
	}
	f, known := u.schema.Lookup(path)
	if !known {
		d.Message = fmt.Sprintf("%s has values that do not fit each other: %s", name, fmt.Sprint(args...))
		return &finding{diag: u.placeOr(d, path, e), cause: entries}
	}
	want := schema.KindName(schema.Kind(f.Value))
	d.Message = fmt.Sprintf("%s is %s, not %s", name, want, have)
	if strings.Trim(name, "0123456789") == "" {
		d.Message = fmt.Sprintf("an element of %s is %s, not %s", path[max(len(path)-2, 0)], want, have)
	}
	switch k := schema.Kind(f.Value); k {
	case cue.StructKind:
		if n := names(f.Value); n != "" {
			d.Allowed = "{…} with " + n
		} else {
			d.Allowed = "{NAME: …}"
		}
		d.Help = u.restruct(path, f.Value, entries)
	case cue.ListKind:
		d.Allowed = "a list: [a, b]"
		if shown != "" && !strings.HasPrefix(shown, "{") {
			d.Help = fmt.Sprintf("write [%s]", shown)
		}
	default:
		d.Allowed = schema.Want(f.Value)
		d.Help = u.rephrase(f.Value, entries)
	}
	return &finding{diag: u.placeOr(d, path, e), cause: entries}
}

// restruct says how to write a list or value as the struct that is wanted.
func (u *unit) restruct(path []string, want cue.Value, entries []*entry) string {
	name := path[len(path)-1]
	if len(entries) == 0 {
		return ""
	}
	list, isList := entries[0].value().(*ast.ListLit)
	example := "…"
	for _, c := range schema.Children(want) {
		if c.Pattern.Exists() && schema.Kind(c.Value) == cue.StructKind {
			example = "{…}"
		}
	}
	if name == "env" && isList && len(list.Elts) > 0 {
		if text, ok := unquote(list.Elts[0]); ok {
			if k, v, ok := strings.Cut(text, "="); ok {
				return fmt.Sprintf("write env: %s: %q", k, v)
			}
		}
	}
	if name == "ports" {
		return "write ports: http: {}"
	}
	if isList {
		return fmt.Sprintf("it is keyed by name, not a list: %s: NAME: %s", name, example)
	}
	return ""
}

// quantity is a number and its unit.
var quantity = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)$`)

// suffixes are ways to write sizes, and ours.
var suffixes = map[string]string{
	"b": "", "byte": "", "bytes": "", "k": "Ki", "kb": "Ki", "kib": "Ki", "ki": "Ki",
	"m": "Mi", "mb": "Mi", "mib": "Mi", "mi": "Mi", "meg": "Mi", "megs": "Mi", "megabytes": "Mi",
	"g": "Gi", "gb": "Gi", "gib": "Gi", "gi": "Gi", "gig": "Gi", "gigs": "Gi", "gigabytes": "Gi",
	"t": "Ti", "tb": "Ti", "tib": "Ti", "ti": "Ti",
}

// spans are ways to write units of time, and ours.
var spans = map[string]string{
	"": "s", "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
	"ms": "ms", "msec": "ms", "millis": "ms", "milliseconds": "ms",
	"m": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
	"h": "h", "hr": "h", "hour": "h", "hours": "h",
}

// rephrase says how to write the value so that it fits, when what was meant can
// be told.
func (u *unit) rephrase(want cue.Value, entries []*entry) string {
	if len(entries) == 0 {
		return ""
	}
	lit := entries[0].value()
	text, isText := unquote(lit)
	if !isText {
		text = source(entries[0].file, lit)
	}
	if b, ok := lit.(*ast.BasicLit); ok && b.Kind == token.NULL {
		return "leave the field out"
	}
	says := schema.Want(want)
	name := entries[0].path[len(entries[0].path)-1]
	switch kind := schema.Kind(want); {
	case kind == cue.BoolKind:
		if s := strings.ToLower(text); slices.Contains([]string{"true", "yes", "on", "1"}, s) {
			return "write true"
		} else if slices.Contains([]string{"false", "no", "off", "0"}, s) {
			return "write false"
		}
	case kind == cue.StringKind && strings.HasPrefix(says, "a span"):
		if m := quantity.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			if unit, ok := spans[strings.ToLower(m[2])]; ok && (!isText || m[1]+unit != text) {
				return fmt.Sprintf("write %q", m[1]+unit)
			}
			if n, err := strconv.Atoi(m[1]); err == nil && (m[2] == "d" || strings.HasPrefix(m[2], "day")) {
				return fmt.Sprintf("write %q", strconv.Itoa(24*n)+"h")
			}
		}
	case kind == cue.StringKind && !isText && isBare(lit):
		return fmt.Sprintf("write %q, in quotes", text)
	case kind == cue.StringKind && (strings.HasPrefix(says, "a name") || strings.HasPrefix(says, "a role")):
		if s := slug(text); s != "" && s != text {
			return fmt.Sprintf("did you mean %q?", s)
		}
	case kind == cue.StringKind && strings.HasPrefix(says, "a Linux capability"):
		if s := strings.TrimPrefix(strings.ToUpper(text), "CAP_"); s != text {
			return fmt.Sprintf("write %q", s)
		}
	case kind == cue.StringKind && strings.HasPrefix(says, "a path") && isText:
		return fmt.Sprintf("write %q", "/"+text)
	case kind == cue.StringKind:
		if members := enum(want); len(members) > 0 {
			if near := diagnose.Nearest(text, members); near != "" {
				return fmt.Sprintf("did you mean %q?", near)
			}
			if ours, ok := operators[strings.ToLower(text)]; ok && slices.Contains(members, ours) {
				return fmt.Sprintf("did you mean %q?", ours)
			}
			return ""
		}
	case strings.HasPrefix(says, "bytes") || name == "max_bytes":
		if m := quantity.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			if unit, ok := suffixes[strings.ToLower(m[2])]; ok && m[2] != "" {
				return fmt.Sprintf("write %s, without quotes", m[1]+unit)
			} else if isText && m[2] == "" {
				return fmt.Sprintf("write %s, without quotes", m[1])
			}
		}
	default:
		if m := quantity.FindStringSubmatch(strings.TrimSpace(text)); m != nil && isText {
			if n, err := strconv.ParseFloat(m[1], 64); err == nil && m[2] == "m" {
				return fmt.Sprintf("write %s, without quotes", strconv.FormatFloat(n/1000, 'f', -1, 64))
			} else if m[2] == "" {
				return fmt.Sprintf("write %s, without quotes", m[1])
			}
		}
		if p, ok := strings.CutSuffix(text, "%"); ok {
			if n, err := strconv.ParseFloat(p, 64); err == nil {
				return fmt.Sprintf("write %s", strconv.FormatFloat(n/100, 'f', -1, 64))
			}
		}
	}
	return ""
}

// operators are names other systems have for how a constraint compares.
var operators = map[string]string{
	"equals": "is", "=": "is", "==": "is", "eq": "is", "in": "like", "regexp": "like", "matches": "like", "=~": "like",
	"!=": "unlike", "not": "unlike", "notin": "unlike", "distinct_hosts": "unique", "distinct": "unique", "distinct_property": "unique",
	"spread": "group_by", "groupby": "group_by", "maxper": "max_per", "max": "max_per", "never": "forbid", "always": "allow", "replace": "forbid",
}

// enum are the texts that a value may be one of.
func enum(v cue.Value) []string {
	v = cue.Dereference(v)
	op, args := v.Expr()
	if op != cue.OrOp {
		return nil
	}
	var out []string
	for _, a := range args {
		if s, err := a.String(); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// unquote returns the text of a string literal.
func unquote(x ast.Expr) (string, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := literal.Unquote(lit.Value)
	return s, err == nil
}

// isBare reports whether x may be text whose quotes were forgotten: a literal, a
// name, or a:b, which CUE reads as a field.
func isBare(x ast.Expr) bool {
	switch x := x.(type) {
	case *ast.BasicLit, *ast.Ident:
		return true
	case *ast.StructLit:
		return !x.Lbrace.IsValid()
	}
	return false
}

// kindOf says what the user wrote.
func kindOf(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.BasicLit:
		switch x.Kind {
		case token.STRING:
			return "text " + cut(x.Value)
		case token.INT, token.FLOAT:
			return "the number " + x.Value
		case token.TRUE, token.FALSE:
			return x.Value
		case token.NULL:
			return "null"
		}
	case *ast.ListLit:
		return "a list"
	case *ast.StructLit:
		return "a struct"
	case *ast.Ident:
		return "what is named " + x.Name
	case *ast.UnaryExpr:
		if y, ok := x.X.(*ast.BasicLit); ok {
			return "the number " + x.Op.String() + y.Value
		}
	}
	return "this"
}

func cut(s string) string {
	const longest = 40
	if r := []rune(s); len(r) > longest {
		return string(r[:longest]) + "…"
	}
	return s
}

// incomplete explains a type where a value is wanted.
func (u *unit) incomplete(path []string, e errors.Error, args []any, round int) *finding {
	entries := u.index.find(path)
	if len(entries) == 0 {
		return nil
	}
	shown := source(entries[0].file, entries[0].value())
	if round > 0 && strings.ContainsAny(shown, ".(") {
		return nil // it may refer to what was taken out
	}
	d := diagnose.Diagnostic{Code: diagnose.Incomplete, Message: fmt.Sprintf("%s has no value yet, only %s", path[len(path)-1], shown), Help: "give it a value"}
	if f, ok := u.schema.Lookup(path); ok {
		d.Allowed = schema.Want(f.Value)
	}
	return &finding{diag: u.placeOr(d, path, e), cause: entries}
}
