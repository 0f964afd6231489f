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

// other explains what is wrong with the CUE itself: names and imports that do
// not exist, and whatever the library reports besides.
func (u *unit) other(path []string, e errors.Error, format string, args []any, round int) *finding {
	d := diagnose.Diagnostic{Code: diagnose.Unresolved}
	f := &finding{}
	pos := e.Position()
	if !pos.IsValid() {
		if p := userPlaces(e); len(p) > 0 {
			pos = p[0]
		}
	}
	name := ""
	if len(args) > 0 {
		name = strings.Trim(fmt.Sprint(args[0]), `"`)
	}
	width := len(name)
	switch {
	case strings.Contains(format, "imported and not used"):
		f.unused = pos
		if round > 0 {
			return f.only()
		}
		d.Message, d.Help = fmt.Sprintf("%q is imported and not used", name), "take the import out"
		width += 2
	case strings.HasPrefix(format, "reference %q not found"):
		if bare := u.bareText(pos, e); bare != nil {
			return bare
		}
		d.Message = fmt.Sprintf("nothing is named %s", name)
		d.Help = u.meantReference(name, pos)
	case strings.HasPrefix(format, "import %q not found"):
		return f.only() // said where it is imported
	case strings.Contains(format, "redeclared as imported package name"):
		if !slices.Contains(schema.Kinds(), name) {
			f.cause = nil
			return f.only()
		}
		d.Code, d.Message = diagnose.UnknownField, fmt.Sprintf("%q is an imported package, and a field here", name)
		d.Help = fmt.Sprintf("did you mean %q?", schema.Plural(name))
		if found := u.index.find([]string{name}); len(found) > 0 {
			f.cause, f.unknown, pos = found, true, found[0].name().Pos()
		}
	case strings.Contains(format, "imported but not defined"), strings.HasPrefix(format, "builtin package"):
		d.Message = fmt.Sprintf("there is no package %q here", name)
		d.Allowed = "packages of drupe.dev, of CUE's own library, and of your own module"
		d.Help = nearestImport(name)
		f.unused, width = pos, width+2
	case strings.HasPrefix(format, "undefined field"):
		d.Message = fmt.Sprintf("there is no field %s", name)
		if !strings.HasPrefix(name, "#") {
			d.Help = "definitions of the schema begin with #, as in service.#Service"
		}
	case strings.Contains(format, "structural cycle"), strings.Contains(format, "cycle error"):
		d.Message, d.Help = "this refers to itself without end", "break the circle"
	default:
		d.Code, d.Message = diagnose.Inconsistent, strings.TrimSpace(strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " "))
	}
	u.name(&d, path)
	if d.Field == "" && d.Subject == "" && len(path) == 0 {
		if at := u.index.around(pos); at != nil {
			u.name(&d, at.path)
		}
	}
	for _, file := range u.files {
		if file.name == pos.Filename() {
			file.mark(&d, pos, max(width, 1))
		}
	}
	if d.File == "" && pos.IsValid() {
		d.File, d.Line, d.Column = pos.Filename(), pos.Line(), pos.Column()
	}
	f.diag = u.place(d, path)
	if len(f.cause) == 0 && !f.unused.IsValid() {
		if at := u.index.around(pos); at != nil {
			f.cause = []*entry{at}
		} else {
			f.cause = u.entries(path, e)
		}
	}
	return f
}

// only marks a finding as one that is acted on but not shown.
func (f *finding) only() *finding {
	f.silent = true
	return f
}

// meantReference guesses what an unresolved name should have been.
func (u *unit) meantReference(name string, pos token.Pos) string {
	for _, k := range append(schema.Kinds(), "task", "unit") {
		if name == k {
			return fmt.Sprintf("add import \"drupe.dev/%s\" at the top", name)
		}
	}
	var known []string
	for g := range u.index.globals {
		known = append(known, g)
	}
	slices.Sort(known)
	if near := diagnose.Nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if lower := strings.ToLower(name); lower == "yes" || lower == "on" || lower == "no" || lower == "off" {
		return fmt.Sprintf("write %t, or %q as text", lower == "yes" || lower == "on", name)
	}
	return fmt.Sprintf("if it is text, write %q", name)
}

// bareText recognises text without quotes that has a colon in it, which CUE
// takes for a field: image: oci:images/web.
func (u *unit) bareText(pos token.Pos, e errors.Error) *finding {
	at := u.index.around(pos)
	if at == nil {
		return nil
	}
	for n := len(at.path) - 1; n > 0; n-- {
		f, ok := u.schema.Lookup(at.path[:n])
		if !ok {
			continue
		}
		outer := u.index.find(at.path[:n])
		if schema.Kind(f.Value) != cue.StringKind || len(outer) == 0 || !isBare(outer[0].value()) {
			return nil
		}
		return u.wrongType(at.path[:n], e, nil)
	}
	return nil
}

// nearestImport guesses what an import path should have been.
func nearestImport(path string) string {
	var ours []string
	for _, k := range append(schema.Kinds(), "task", "unit", "document") {
		ours = append(ours, "drupe.dev/"+k)
	}
	if near := diagnose.Nearest(path, ours); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return ""
}

// dropImport takes the import at a position out of its file.
func dropImport(files []*file, pos token.Pos) bool {
	done := false
	for _, f := range files {
		if f.name != pos.Filename() {
			continue
		}
		for _, d := range f.tree.Decls {
			imports, ok := d.(*ast.ImportDecl)
			if !ok {
				continue
			}
			n := len(imports.Specs)
			imports.Specs = slices.DeleteFunc(imports.Specs, func(s *ast.ImportSpec) bool {
				return s.Pos().Offset() <= pos.Offset() && pos.Offset() <= s.End().Offset()
			})
			done = done || len(imports.Specs) < n
		}
		f.tree.Decls = slices.DeleteFunc(f.tree.Decls, func(d ast.Decl) bool {
			imports, ok := d.(*ast.ImportDecl)
			return ok && len(imports.Specs) == 0
		})
	}
	return done
}
