package load

import (
	"fmt"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/token"

	"github.com/drupe-os/drupe/cue/diagnose"
)

// conflict explains two places of the user's that disagree.
func (u *unit) conflict(path []string, e errors.Error) *finding {
	places := userPlaces(e)
	slices.SortFunc(places, func(a, b token.Pos) int {
		if c := u.rankFile(a) - u.rankFile(b); c != 0 {
			return c
		}
		return a.Offset() - b.Offset()
	})
	var values []string
	for _, p := range places {
		values = append(values, u.textAt(p))
	}
	d := diagnose.Diagnostic{Code: diagnose.Conflict, Message: fmt.Sprintf("%s has two values: %s", path[len(path)-1], strings.Join(values, " and "))}
	last := places[len(places)-1]
	d.Help = fmt.Sprintf("the other is at %s:%d:%d; keep one", places[0].Filename(), places[0].Line(), places[0].Column())
	u.name(&d, path)
	for _, f := range u.files {
		if f.name == last.Filename() {
			f.mark(&d, last, len(values[len(values)-1]))
		}
	}
	return &finding{diag: u.place(d, path), cause: u.entries(path, e)}
}

func (u *unit) rankFile(p token.Pos) int {
	return slices.IndexFunc(u.files, func(f *file) bool { return f.name == p.Filename() })
}

// textAt is the literal that begins at a position.
func (u *unit) textAt(p token.Pos) string {
	for _, e := range u.index.all {
		v := e.value()
		if e.file.name != p.Filename() || v.Pos().Offset() != p.Offset() {
			continue
		}
		return source(e.file, v)
	}
	return "another"
}

// source is the text of a node on one line, cut short.
func source(f *file, n ast.Node) string {
	from, to := n.Pos().Offset(), n.End().Offset()
	if from < 0 || to > len(f.text) || from >= to {
		return "?"
	}
	s := strings.Join(strings.Fields(string(f.text[from:to])), " ")
	const longest = 40
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return s
}
