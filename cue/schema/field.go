package schema

import (
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"
)

// Field is one field that the schema allows at some place.
type Field struct {
	// Name is empty for a field of any name that matches Pattern.
	Name string
	// Pattern is what the names of a map must match; only for those.
	Pattern cue.Value
	// Required fields must be given wherever the struct around them is.
	Required bool
	// Value is what it may hold.
	Value cue.Value
}

// Doc is the field's comment as one line.
func (f Field) Doc() string { return docOf(f.Value) }

// Children returns the fields that the struct v allows, in the schema's order,
// with the pattern of a map last. A list has one child, without a name.
func Children(v cue.Value) []Field {
	if Kind(v) == cue.ListKind {
		if elem := v.LookupPath(cue.MakePath(cue.AnyIndex)); elem.Exists() {
			return []Field{{Value: elem}}
		}
		return nil
	}
	iter, err := v.Fields(cue.Optional(true), cue.Patterns(true))
	if err != nil {
		return nil
	}
	var out []Field
	for iter.Next() {
		sel := iter.Selector()
		f := Field{Value: iter.Value()}
		if sel.ConstraintType() == cue.PatternConstraint {
			f.Pattern = sel.Pattern()
		} else {
			f.Name = sel.Unquoted()
			f.Required = sel.ConstraintType() == cue.RequiredConstraint
		}
		out = append(out, f)
	}
	return out
}

// Lookup returns the field at a path of the user's data, such as services,
// hello, run; list indices are numbers.
func (s *Schema) Lookup(path []string) (Field, bool) {
	at := Field{Value: s.root}
	for _, name := range path {
		next, ok := child(at.Value, name)
		if !ok {
			return Field{}, false
		}
		at = next
	}
	return at, true
}

func child(v cue.Value, name string) (Field, bool) {
	for _, f := range Children(v) {
		switch {
		case f.Name == name, Kind(v) == cue.ListKind:
			return f, true
		case f.Pattern.Exists():
			label := v.Context().Encode(name)
			if f.Pattern.Unify(label).Validate() == nil {
				return f, true
			}
		}
	}
	return Field{}, false
}

// Kind is the kind of what v may hold. A definition that is not valid by itself,
// such as a struct that must have a field, still has the kind of its parts.
func Kind(v cue.Value) cue.Kind {
	k := v.IncompleteKind()
	if k != cue.BottomKind {
		return k
	}
	if op, args := v.Expr(); op == cue.AndOp {
		for _, a := range args {
			if k := Kind(a); k != cue.BottomKind {
				return k
			}
		}
	}
	return k
}

// Want says in a few words what v may hold, for people: the comment of the unit
// it refers to, else its kind and bounds.
func Want(v cue.Value) string {
	if _, p := v.ReferencePath(); len(p.Selectors()) > 0 && Kind(v)&(cue.StructKind|cue.ListKind) == 0 {
		if d := docOf(cue.Dereference(v)); d != "" {
			return d
		}
	}
	op, args := v.Expr()
	switch op {
	case cue.AndOp:
		var parts []string
		for _, a := range args {
			if w := Want(a); w != "" && !(len(parts) > 0 && w == parts[len(parts)-1]) {
				parts = append(parts, w)
			}
		}
		return strings.Join(parts, ", ")
	case cue.GreaterThanEqualOp:
		return "at least " + text(args[0])
	case cue.LessThanEqualOp:
		return "at most " + text(args[0])
	case cue.GreaterThanOp:
		return "more than " + text(args[0])
	case cue.LessThanOp:
		return "less than " + text(args[0])
	case cue.RegexMatchOp:
		if doc := patterns()[text(args[0])]; doc != "" {
			return doc
		}
		return "text that matches " + text(args[0])
	case cue.CallOp:
		return ""
	}
	return KindName(Kind(v))
}

// patterns are the comments of the units that are regular expressions, by
// expression: the name of a map's field does not remember which unit it was.
var patterns = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for _, f := range sources()["unit"] {
		tree, err := parser.ParseFile(f.name, f.text, parser.ParseComments)
		if err != nil {
			panic("embedded schema: " + err.Error())
		}
		for _, d := range tree.Decls {
			field, ok := d.(*ast.Field)
			if !ok {
				continue
			}
			unary, ok := field.Value.(*ast.UnaryExpr)
			if !ok || unary.Op != token.MAT {
				continue
			}
			lit, ok := unary.X.(*ast.BasicLit)
			if !ok {
				continue
			}
			expr, err := literal.Unquote(lit.Value)
			for _, c := range ast.Comments(field) {
				if err == nil && c.Doc {
					out[expr] = strings.Join(strings.Fields(c.Text()), " ")
				}
			}
		}
	}
	return out
})

// KindName is what people call a kind of value.
func KindName(k cue.Kind) string {
	switch k {
	case cue.IntKind:
		return "a whole number"
	case cue.FloatKind, cue.NumberKind:
		return "a number"
	case cue.StringKind:
		return "text"
	case cue.BoolKind:
		return "true or false"
	case cue.ListKind:
		return "a list [ … ]"
	case cue.StructKind:
		return "a struct { … }"
	case cue.NullKind:
		return "null"
	}
	return "a value"
}

func text(v cue.Value) string {
	if v.Kind() == cue.StringKind {
		s, _ := v.String()
		return s
	}
	b, err := v.MarshalJSON()
	if err != nil {
		return ""
	}
	return string(b)
}

// docOf joins the comment of v into one line.
func docOf(v cue.Value) string {
	for _, g := range v.Doc() {
		if s := strings.Join(strings.Fields(g.Text()), " "); s != "" {
			return s
		}
	}
	return ""
}
