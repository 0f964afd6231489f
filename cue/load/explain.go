package load

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/schema"
)

// finding is one error in our words, and what to take out so that the errors
// behind it come to light.
type finding struct {
	diag    diagnose.Diagnostic
	cause   []*entry
	unknown bool      // the field itself is wrong, not its value
	unused  token.Pos // an import to take out
	silent  bool      // acted on but not shown
}

// explain puts the errors of one path into words. nil when they say nothing a
// person could act on and something else was reported already.
func (u *unit) explain(path []string, group []errors.Error, round int) *finding {
	best := slices.MinFunc(group, func(a, b errors.Error) int { return rank(a) - rank(b) })
	format, args := best.Msg()
	if len(path) == 0 && rank(best) != rankOther {
		return &finding{diag: u.placeOr(diagnose.Diagnostic{Code: diagnose.WrongType, Message: "a file holds fields, not a value",
			Allowed: strings.Join(u.kinds(), ", "), Help: "begin with services: NAME: {…}"}, path, best)}
	}
	switch rank(best) {
	case rankUnknown:
		return u.unknown(path)
	case rankUser:
		return u.conflict(path, best)
	case rankType:
		return u.wrongType(path, best, args)
	case rankRange:
		return u.outOfRange(path, best, format, args)
	case rankMissing:
		return u.missing(path)
	case rankIncomplete:
		return u.incomplete(path, best, args, round)
	}
	return u.other(path, best, format, args, round)
}

// The ranks of errors at one path: the first is shown.
const (
	rankUnknown = iota
	rankUser    // two places of the user's disagree
	rankType
	rankRange
	rankMissing
	rankIncomplete
	rankOther
)

func rank(e errors.Error) int {
	format, _ := e.Msg()
	switch {
	case strings.HasPrefix(format, "field not allowed"):
		return rankUnknown
	case strings.HasPrefix(format, "conflicting values"):
		if len(userPlaces(e)) > 1 && !slices.ContainsFunc(errors.Positions(e), schema.Own) {
			return rankUser
		}
		return rankType
	case strings.HasPrefix(format, "invalid value"), format == "%s", strings.Contains(format, "empty disjunction"), strings.HasPrefix(format, "incompatible"):
		return rankRange
	case strings.HasPrefix(format, "field is required"):
		return rankMissing
	case strings.HasPrefix(format, "incomplete value"), strings.HasPrefix(format, "non-concrete value"):
		return rankIncomplete
	}
	return rankOther
}

// userPlaces are the positions of an error outside the schema.
func userPlaces(e errors.Error) []token.Pos {
	return slices.DeleteFunc(slices.Clone(errors.Positions(e)), func(p token.Pos) bool { return schema.Own(p) || p.Filename() == "" })
}

// place fills in where a diagnostic is: the document and field of the path, and
// the text that sets it or, failing that, the nearest around it.
func (u *unit) place(d diagnose.Diagnostic, path []string) diagnose.Diagnostic {
	u.name(&d, path)
	if e := u.index.nearest(path); e != nil && d.File == "" {
		node := e.name()
		if len(e.path) == len(path) && d.Code != diagnose.UnknownField && d.Code != diagnose.OneOf && d.Code != diagnose.MissingField {
			switch v := e.value().(type) {
			case *ast.StructLit, *ast.ListLit:
			default:
				node = v
			}
		}
		e.file.markNode(&d, node)
	}
	if d.File == "" {
		d.File = u.files[0].name
	}
	return d
}

// name fills in the document and field of a path.
func (u *unit) name(d *diagnose.Diagnostic, path []string) {
	if len(path) >= 2 {
		for _, k := range schema.Kinds() {
			if path[0] == schema.Plural(k) {
				d.Subject = k + "/" + path[1]
				d.Field = dotted(path[2:])
				return
			}
		}
	}
	d.Field = dotted(path)
}

// dotted writes a path for people, quoting names that are no identifiers.
func dotted(path []string) string {
	out := make([]string, len(path))
	for i, p := range path {
		out[i] = p
		if !ast.IsValidIdent(p) && strings.Trim(p, "0123456789") != "" {
			out[i] = fmt.Sprintf("%q", p)
		}
	}
	return strings.Join(out, ".")
}

// entries are the places to take out for an error at path: those of the path,
// else those at the error's positions.
func (u *unit) entries(path []string, e errors.Error) []*entry {
	if found := u.index.find(path); len(found) > 0 {
		return found
	}
	if e == nil {
		return nil
	}
	for _, pos := range userPlaces(e) {
		if at := u.index.around(pos); at != nil {
			return []*entry{at}
		}
	}
	return nil
}

// unknown explains a field that the schema does not have there.
func (u *unit) unknown(path []string) *finding {
	name, parent := path[len(path)-1], path[:len(path)-1]
	d := diagnose.Diagnostic{Code: diagnose.UnknownField, Message: fmt.Sprintf("unknown field %q", name)}
	at, _ := u.schema.Lookup(parent)
	var names []string
	for _, c := range schema.Children(at.Value) {
		if c.Name != "" {
			names = append(names, c.Name)
		} else if c.Pattern.Exists() {
			d.Code = diagnose.OutOfRange
			d.Message = fmt.Sprintf("%q cannot be a name here", name)
			d.Allowed = schema.Want(c.Pattern)
		}
	}
	if d.Code == diagnose.UnknownField {
		d.Allowed = strings.Join(names, ", ")
		d.Help = u.meant(path, name, names)
	} else if slug := slug(name); slug != "" && slug != name {
		d.Help = fmt.Sprintf("did you mean %q?", slug)
	}
	return &finding{diag: u.place(d, path), cause: u.entries(path, nil), unknown: true}
}

// meant guesses what an unknown field should have been.
func (u *unit) meant(path []string, name string, names []string) string {
	parent := path[:len(path)-1]
	if ours := diagnose.Habit(name, names); ours != "" {
		return fmt.Sprintf("did you mean %q?", ours)
	}
	if ours := diagnose.Nearest(name, names); ours != "" {
		return fmt.Sprintf("did you mean %q?", ours)
	}
	if len(path) >= 3 {
		if kind, ok := u.schema.Lookup(path[:2]); ok {
			if where := home(kind.Value, name, nil, 0); where != "" && where != dotted(parent[2:]) {
				return fmt.Sprintf("%s belongs in %s", name, where)
			}
		}
	}
	if len(path) == 1 && len(name) > 0 {
		return "to keep something for use elsewhere in the file, name it _" + name + " or #" + name
	}
	return ""
}

// home finds the struct below v that has a field of that name.
func home(v cue.Value, name string, path []string, depth int) string {
	const deepest = 4
	if depth > deepest {
		return ""
	}
	children := schema.Children(v)
	for _, c := range children {
		if c.Name == name && len(path) > 0 {
			return strings.Join(path, ".")
		}
	}
	for _, c := range children {
		step := c.Name
		if step == "" {
			step = "NAME"
		}
		if schema.Kind(c.Value) == cue.ListKind {
			continue
		}
		if found := home(c.Value, name, append(slices.Clone(path), step), depth+1); found != "" {
			return found
		}
	}
	return ""
}

// slug makes a name of s, as far as that can be done.
func slug(s string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '/':
			return r
		}
		return '-'
	}, s)
	return strings.Trim(out, "-/")
}

// missing explains a required field that is not there.
func (u *unit) missing(path []string) *finding {
	name := path[len(path)-1]
	d := diagnose.Diagnostic{Code: diagnose.MissingField, Message: fmt.Sprintf("%s is missing", name)}
	if f, ok := u.schema.Lookup(path); ok {
		example := map[cue.Kind]string{cue.StructKind: "{…}", cue.ListKind: "[…]", cue.StringKind: `"…"`}[schema.Kind(f.Value)]
		if example == "" {
			example = "…"
		}
		d.Help = "add " + name + ": " + example
		d.Allowed = f.Doc()
		if d.Allowed == "" {
			d.Allowed = schema.Want(f.Value)
		}
		if n := names(f.Value); n != "" {
			d.Allowed = name + " with " + n
		}
	}
	found := u.place(d, path[:len(path)-1])
	u.name(&found, path)
	return &finding{diag: found}
}

// names lists the fields of a struct.
func names(v cue.Value) string {
	var out []string
	for _, c := range schema.Children(v) {
		if c.Name != "" {
			out = append(out, c.Name)
		}
	}
	return strings.Join(out, ", ")
}

// outOfRange explains a value of the right type that is not allowed.
func (u *unit) outOfRange(path []string, e errors.Error, format string, args []any) *finding {
	f, known := u.schema.Lookup(path)
	d := diagnose.Diagnostic{Code: diagnose.OutOfRange}
	entries := u.entries(path, e)
	if known && schema.Kind(f.Value) == cue.StructKind {
		d.Code = diagnose.OneOf
		d.Allowed = "exactly one of " + names(f.Value)
		d.Message = fmt.Sprintf("%s says nothing", path[len(path)-1])
		d.Help = "add one"
		if strings.Contains(fmt.Sprint(args...), "MaxFields") {
			d.Message, d.Help = fmt.Sprintf("%s says more than one thing", path[len(path)-1]), "keep one"
		}
		return &finding{diag: u.place(d, path), cause: entries}
	}
	shown := "this"
	if len(entries) > 0 {
		shown = source(entries[0].file, entries[0].value())
	}
	d.Message = fmt.Sprintf("%s cannot be %s", path[len(path)-1], shown)
	if known {
		d.Allowed = schema.Want(f.Value)
		d.Help = u.rephrase(f.Value, entries)
	} else {
		d.Message += ": " + fmt.Sprintf(format, args...)
	}
	return &finding{diag: u.placeOr(d, path, e), cause: entries}
}

// placeOr is place, but takes the error's own position where the index knows
// no better.
func (u *unit) placeOr(d diagnose.Diagnostic, path []string, e errors.Error) diagnose.Diagnostic {
	if len(u.index.find(path)) == 0 {
		for _, p := range userPlaces(e) {
			for _, f := range u.files {
				if f.name == p.Filename() {
					f.mark(&d, p, 1)
					u.name(&d, path)
					return d
				}
			}
		}
	}
	return u.place(d, path)
}
