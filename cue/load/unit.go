package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/literal"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/schema"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
)

// maxRounds bounds the rounds of peeling: each uncovers the mistakes that those
// of the round before hid, and the schema is not deep enough for more.
const maxRounds = 24

// unit is the files of one package while they are checked.
//
// CUE shows only some of the mistakes at once: conflicting values hide unknown
// fields, both hide missing ones. So the unit is checked in rounds. What was
// reported is taken out of the syntax tree, and the rest is checked again.
type unit struct {
	schema *schema.Schema
	files  []*file
	index  *index
	// taken are the paths reported and taken out, or made "anything".
	taken map[string][]string
	seen  map[string]bool // places and words already reported
	body  []byte          // of the one document, when it came as JSON
	diags []diagnose.Diagnostic
}

func newUnit(s *schema.Schema, files []*file) *unit {
	return &unit{schema: s, files: files, index: newIndex(files), taken: map[string][]string{}, seen: map[string]bool{}}
}

// check returns the unit's documents, or its mistakes in the order of the text.
func (u *unit) check() ([]Loaded, []diagnose.Diagnostic) {
	resolve := resolver(u.schema, u.files[0].dir)
	var value cue.Value
	for round := 0; round < maxRounds; round++ {
		trees := make([]*ast.File, len(u.files))
		for i, f := range u.files {
			trees[i] = f.tree
		}
		value = u.schema.Root().Unify(u.schema.Build(trees, resolve))
		err := value.Validate(cue.Concrete(true))
		if err == nil || !u.peel(errors.Errors(err), round) {
			break
		}
	}
	docs := u.documents(value)
	u.sort()
	return docs, u.diags
}

// peel reports the errors of one round and takes their causes out. False when
// nothing was taken out, so that another round would show the same.
func (u *unit) peel(errs []errors.Error, round int) bool {
	progress := false
	type cut struct {
		entries []*entry
		whole   bool
	}
	var cuts []cut
	for _, group := range byPath(errs) {
		path := dataPath(group[0])
		if u.hidden(path, group[0]) {
			continue
		}
		f := u.explain(path, group, round)
		if f == nil {
			continue
		}
		if !f.silent {
			u.report(f.diag)
		}
		if f.unused.IsValid() {
			progress = dropImport(u.files, f.unused) || progress
		}
		if len(f.cause) > 0 {
			u.taken[key(f.cause[0].path)] = f.cause[0].path
			cuts = append(cuts, cut{f.cause, f.unknown})
		}
	}
	for _, c := range cuts {
		for _, e := range c.entries {
			if c.whole {
				e.remove()
			} else {
				e.clear()
			}
			progress = true
		}
	}
	return progress
}

// byPath gathers the errors of one path, in the order of their first.
func byPath(errs []errors.Error) [][]errors.Error {
	var out [][]errors.Error
	at := map[string]int{}
	for _, e := range errs {
		k := key(dataPath(e))
		if k == "" {
			out = append(out, []errors.Error{e})
			continue
		}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], e)
	}
	return out
}

// dataPath is the path of an error in the user's data: without the definition
// that CUE puts before it.
func dataPath(e errors.Error) []string {
	p := e.Path()
	for len(p) > 0 && strings.HasPrefix(p[0], "#") {
		p = p[1:]
	}
	out := make([]string, len(p))
	for i, name := range p {
		out[i] = name
		if s, err := literal.Unquote(name); err == nil && strings.HasPrefix(name, `"`) {
			out[i] = s
		}
	}
	return out
}

// hidden reports whether an error only follows from what was taken out.
func (u *unit) hidden(path []string, e errors.Error) bool {
	format, _ := e.Msg()
	for _, t := range u.taken {
		if within(path, t) {
			return true
		}
		// Something taken out below path may be just what it now lacks.
		if within(t, path) && (strings.Contains(format, "satisfy") || strings.Contains(format, "incomplete") || strings.Contains(format, "non-concrete")) {
			return true
		}
	}
	return false
}

// within reports whether path is top or lies below it.
func within(path, top []string) bool {
	return len(path) >= len(top) && slices.Equal(path[:len(top)], top)
}

// report adds a diagnostic unless the same is there.
func (u *unit) report(d diagnose.Diagnostic) {
	k := fmt.Sprint(d.File, ":", d.Line, ":", d.Column, " ", d.Code, " ", d.Field)
	if d.Line == 0 {
		k += d.Message
	}
	if !u.seen[k] {
		u.seen[k] = true
		u.diags = append(u.diags, d)
	}
}

// reported tells whether something was said about a field.
func (u *unit) reported(subject, field string) bool {
	return slices.ContainsFunc(u.diags, func(d diagnose.Diagnostic) bool { return d.Subject == subject && d.Field == field })
}

// sort puts the diagnostics in the order of the text.
func (u *unit) sort() {
	place := map[string]int{}
	for i, f := range u.files {
		place[f.name] = i
	}
	slices.SortStableFunc(u.diags, func(a, b diagnose.Diagnostic) int {
		for _, d := range [3]int{place[a.File] - place[b.File], a.Line - b.Line, a.Column - b.Column} {
			if d != 0 {
				return d
			}
		}
		return 0
	})
}

// documents takes the documents out of the checked value, completes and
// checks what the schema cannot.
func (u *unit) documents(value cue.Value) []Loaded {
	var out []Loaded
	for _, kind := range schema.Kinds() {
		names, err := value.LookupPath(cue.MakePath(cue.Str(schema.Plural(kind)))).Fields()
		if err != nil {
			continue
		}
		for names.Next() {
			path := []string{schema.Plural(kind), names.Selector().Unquoted()}
			raw, ok := u.json(names.Value(), path)
			if !ok {
				continue
			}
			if d, ok := u.document(kind, path, raw); ok {
				out = append(out, d)
			}
		}
	}
	if len(u.diags) == 0 && len(out) == 0 {
		u.report(diagnose.Diagnostic{Code: diagnose.Unreadable, File: u.files[0].name, Message: "declares no document",
			Help: "begin with services: NAME: {…}", Allowed: strings.Join(u.kinds(), ", ")})
	}
	return out
}

func (u *unit) kinds() []string {
	var out []string
	for _, k := range schema.Kinds() {
		out = append(out, schema.Plural(k))
	}
	return out
}

// json writes a document's value without what was taken out of it, so that
// the rest can still be checked.
func (u *unit) json(v cue.Value, path []string) ([]byte, bool) {
	damaged := false
	for _, t := range u.taken {
		damaged = damaged || within(t, path) || within(path, t)
	}
	if !damaged && u.body != nil {
		return u.body, true
	}
	if !damaged {
		b, err := v.MarshalJSON()
		return b, err == nil
	}
	tree, ok := u.tree(v, path)
	if !ok {
		return nil, false
	}
	b, err := json.Marshal(tree)
	return b, err == nil
}

// tree is the part of v that has a value.
func (u *unit) tree(v cue.Value, path []string) (any, bool) {
	if _, gone := u.taken[key(path)]; gone {
		return nil, false
	}
	switch v.IncompleteKind() {
	case cue.StructKind:
		out := map[string]any{}
		iter, err := v.Fields()
		if err != nil {
			return nil, false
		}
		for iter.Next() {
			name := iter.Selector().Unquoted()
			if x, ok := u.tree(iter.Value(), append(slices.Clone(path), name)); ok {
				out[name] = x
			}
		}
		return out, true
	case cue.ListKind:
		out := []any{}
		iter, err := v.List()
		if err != nil {
			return nil, false
		}
		for i := 0; iter.Next(); i++ {
			x, ok := u.tree(iter.Value(), append(slices.Clone(path), fmt.Sprint(i)))
			if !ok {
				return nil, false // the numbers of the others would be wrong
			}
			out = append(out, x)
		}
		return out, true
	}
	b, err := v.MarshalJSON()
	return sdk.RawJSON(b), err == nil
}

// document makes one document of its JSON.
func (u *unit) document(kind string, path []string, raw []byte) (Loaded, bool) {
	d := Loaded{Ref: sdk.Ref{Kind: kind, Name: path[1]}}
	if e := u.index.nearest(path); e != nil {
		d.File, d.Line, d.Source = e.file.name, e.name().Pos().Line(), string(e.file.text)
	}
	body, err := decode(kind, raw)
	if err != nil {
		if len(u.taken) == 0 {
			u.report(u.place(diagnose.Diagnostic{Code: diagnose.Inconsistent, Message: words(err)}, append(path, fieldOf(err)...)))
		}
		return d, false
	}
	u.absolute(path, body)
	for _, p := range problems(d.Ref.Name, body) {
		at := append(slices.Clone(path), p.Path...)
		if u.concerns(path, at) || u.reported(d.Ref.String(), dotted(p.Path)) {
			continue
		}
		u.report(u.place(diagnose.Diagnostic{Code: diagnose.Inconsistent, Message: p.Message, Allowed: p.Allowed, Help: p.Fix}, at))
	}
	switch b := body.(type) {
	case *doc.Service:
		d.Role = b.Role
	case *doc.Job:
		d.Role = b.Role
	}
	enc, err := doc.Encode(body)
	d.Body = bytes.Clone(enc)
	return d, err == nil
}

// concerns reports whether a problem at a path may come from what was taken out
// of the document at top: its own field, or what it is compared with.
func (u *unit) concerns(top, at []string) bool {
	for _, t := range u.taken {
		if within(at, t) || within(t, at) {
			return true
		}
		if !within(t, top) || len(t) <= len(top) {
			continue
		}
		switch field := t[len(top)]; {
		case field == "ports" && slices.Contains(at, "checks"),
			field == "ports" && (slices.Contains(at, "command") || slices.Contains(at, "args") || slices.Contains(at, "env")),
			field == "resources" && slices.Contains(at, "limits"),
			field == "constraints" && within(at, t[:len(t)-1]):
			return true
		}
	}
	return false
}
