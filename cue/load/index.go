package load

import (
	"slices"
	"strconv"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"
)

// entry is one place in the user's files that sets a field or list element.
type entry struct {
	path  []string
	file  *file
	node  ast.Node // *ast.Field, or the element
	decls *[]ast.Decl
	list  *ast.ListLit // for an element
	at    int          // index in list
}

// name is the node that messages point at: the label, or the element.
func (e *entry) name() ast.Node {
	if f, ok := e.node.(*ast.Field); ok {
		return f.Label
	}
	return e.node
}

// value is what is set.
func (e *entry) value() ast.Expr {
	if f, ok := e.node.(*ast.Field); ok {
		return f.Value
	}
	return e.node.(ast.Expr)
}

// remove takes the field out of its file's syntax tree. A list element becomes
// "anything", so that those after it keep their numbers.
func (e *entry) remove() {
	if e.list != nil {
		e.list.Elts[e.at] = ast.NewIdent("_")
		return
	}
	*e.decls = slices.DeleteFunc(*e.decls, func(d ast.Decl) bool { return d == e.node })
}

// clear makes the value "anything", so that what is required is still there.
func (e *entry) clear() {
	if f, ok := e.node.(*ast.Field); ok {
		f.Value = ast.NewIdent("_")
		return
	}
	e.remove()
}

// index finds places in a package's files by the path of the data and by
// position. It follows structs, lists, "&", and references to fields and
// definitions at the top of a file.
type index struct {
	byPath  map[string][]*entry
	all     []*entry
	globals map[string][]*ast.Field
	owner   map[*ast.Field]*file
	depth   int
}

func newIndex(files []*file) *index {
	ix := &index{byPath: map[string][]*entry{}, globals: map[string][]*ast.Field{}, owner: map[*ast.Field]*file{}}
	for _, f := range files {
		for _, d := range f.tree.Decls {
			if fd, ok := d.(*ast.Field); ok {
				if name, _, err := ast.LabelName(fd.Label); err == nil {
					ix.globals[name] = append(ix.globals[name], fd)
					ix.owner[fd] = f
				}
			}
		}
	}
	for _, f := range files {
		ix.decls(nil, &f.tree.Decls, f)
	}
	return ix
}

func (ix *index) add(e *entry) {
	key := key(e.path)
	ix.byPath[key] = append(ix.byPath[key], e)
	ix.all = append(ix.all, e)
}

func (ix *index) decls(path []string, decls *[]ast.Decl, f *file) {
	for _, d := range *decls {
		switch d := d.(type) {
		case *ast.Field:
			name, _, err := ast.LabelName(d.Label)
			if err != nil {
				name = "[]" // a pattern: found by position only
			}
			at := append(slices.Clone(path), name)
			ix.add(&entry{path: at, file: f, node: d, decls: decls})
			ix.expr(at, d.Value, f)
		case *ast.EmbedDecl:
			ix.expr(path, d.Expr, f)
		case *ast.Comprehension:
			ix.expr(path, d.Value, f)
		}
	}
}

func (ix *index) expr(path []string, x ast.Expr, f *file) {
	switch x := x.(type) {
	case *ast.StructLit:
		ix.decls(path, &x.Elts, f)
	case *ast.ParenExpr:
		ix.expr(path, x.X, f)
	case *ast.BinaryExpr:
		if x.Op == token.AND {
			ix.expr(path, x.X, f)
			ix.expr(path, x.Y, f)
		}
	case *ast.ListLit:
		for i, elem := range x.Elts {
			at := append(slices.Clone(path), strconv.Itoa(i))
			ix.add(&entry{path: at, file: f, node: elem, list: x, at: i})
			ix.expr(at, elem, f)
		}
	case *ast.Ident:
		// A value shared by reference: its mistakes are where it is written.
		const deepest = 8
		if len(path) == 0 || ix.depth >= deepest {
			return
		}
		ix.depth++
		for _, g := range ix.globals[x.Name] {
			ix.expr(path, g.Value, ix.owner[g])
		}
		ix.depth--
	}
}

// find returns the places that set the field at path, in the files' order.
func (ix *index) find(path []string) []*entry { return ix.byPath[key(path)] }

// nearest returns the place that sets the field, or the nearest field around
// it that the files set.
func (ix *index) nearest(path []string) *entry {
	for n := len(path); n > 0; n-- {
		if found := ix.find(path[:n]); len(found) > 0 {
			return found[0]
		}
	}
	return nil
}

// around returns the innermost place in whose text the position lies.
func (ix *index) around(pos token.Pos) *entry {
	var best *entry
	for _, e := range ix.all {
		if e.file.name != pos.Filename() || !e.node.Pos().IsValid() {
			continue
		}
		from, to := e.node.Pos().Offset(), e.node.End().Offset()
		if from <= pos.Offset() && pos.Offset() < to &&
			(best == nil || from >= best.node.Pos().Offset() && to <= best.node.End().Offset()) {
			best = e
		}
	}
	return best
}

// key is a path as a map key.
func key(path []string) string { return strings.Join(path, "\x00") }
