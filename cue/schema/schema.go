// Package schema compiles the embedded schema module and answers questions
// about it: what a field is, which fields stand beside it, what its comment
// says.
package schema

import (
	"io/fs"
	"path"
	"strings"
	"sync"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/cuecontext"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	module "github.com/drupe-os/drupe/cue"
)

// maxBuilds is how many values are built in one CUE context before it is
// dropped: a context keeps all it ever built, about 45 KB for a document.
const maxBuilds = 256

// Resolver finds the package of an import path that is not the schema's own.
// nil means there is none; packages of the CUE library need no resolver.
type Resolver func(pos token.Pos, importPath string) *build.Instance

// Schema is the compiled module. Use it from one goroutine at a time.
type Schema struct {
	ctx    *cue.Context
	loader *build.Context
	root   cue.Value
	builds int
}

// New compiles the module. It panics only if the embedded files are broken,
// which the tests of this package would have shown.
func New() *Schema {
	s := &Schema{}
	s.renew()
	return s
}

func (s *Schema) renew() {
	s.ctx, s.loader, s.builds = cuecontext.New(), build.NewContext(), 0
	inst := s.instance(module.Module+"/document", nil)
	v := s.ctx.BuildInstance(inst)
	s.root = v.LookupPath(cue.ParsePath("#Documents"))
	if err := s.root.Err(); err != nil {
		panic("embedded schema: " + err.Error())
	}
}

// Root is the definition of a whole file set: a struct of kinds.
func (s *Schema) Root() cue.Value { return s.root }

// Build compiles the files of one package. Imports of the schema's packages are
// answered from the module, others by resolve, which may be nil. The value may
// be an error. It is valid until Build was called some hundred times more.
func (s *Schema) Build(files []*ast.File, resolve Resolver) cue.Value {
	if s.builds++; s.builds > maxBuilds {
		s.renew()
	}
	inst := s.NewInstance(resolve)
	for _, f := range files {
		if err := inst.AddSyntax(f); err != nil {
			inst.ReportError(err)
		}
		if name := f.PackageName(); name != "" {
			inst.PkgName = name
		}
	}
	return s.ctx.BuildInstance(inst)
}

// NewInstance begins a package whose imports are answered like those of Build.
func (s *Schema) NewInstance(resolve Resolver) *build.Instance {
	return s.loader.NewInstance("", func(pos token.Pos, p string) *build.Instance {
		if inst := s.instance(p, resolve); inst != nil {
			return inst
		}
		if resolve == nil {
			return nil
		}
		return resolve(pos, p)
	})
}

// IsOwn reports whether the import path names a package of the schema module,
// with or without a version.
func IsOwn(importPath string) bool {
	_, ok := folder(importPath)
	return ok
}

// folder returns the folder in the module that an import path names.
func folder(importPath string) (string, bool) {
	p := ast.ParseImportPath(importPath)
	if p.Version != "" && p.Version != "v1" && !strings.HasPrefix(p.Version, "v1.") {
		return "", false
	}
	dir, ok := strings.CutPrefix(p.Path, module.Module+"/")
	if !ok {
		return "", false
	}
	_, known := sources()[dir]
	return dir, known
}

// instance returns the package of the schema module with that import path, or
// nil.
func (s *Schema) instance(importPath string, resolve Resolver) *build.Instance {
	dir, ok := folder(importPath)
	if !ok {
		return nil
	}
	inst := s.NewInstance(resolve)
	inst.ImportPath = module.Module + "/" + dir
	inst.PkgName = path.Base(dir)
	inst.Module = module.Module + "@v1"
	for _, f := range sources()[dir] {
		text, err := parser.ParseFile(f.name, f.text, parser.ParseComments)
		if err != nil {
			panic("embedded schema: " + err.Error())
		}
		if err := inst.AddSyntax(text); err != nil {
			inst.ReportError(err)
		}
	}
	return inst
}

// source is one file of the module, by the name it has in messages.
type source struct {
	name string
	text []byte
}

// sources are the module's files by folder.
var sources = sync.OnceValue(func() map[string][]source {
	out := map[string][]source{}
	err := fs.WalkDir(module.Files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(p, "cue.mod/") {
			return err
		}
		text, err := module.Files.ReadFile(p)
		dir := path.Dir(p)
		out[dir] = append(out[dir], source{module.Module + "/" + p, text})
		return err
	})
	if err != nil {
		panic("embedded schema: " + err.Error())
	}
	return out
})

// Own reports whether a position lies in the schema module.
func Own(pos token.Pos) bool {
	return strings.HasPrefix(pos.Filename(), module.Module+"/")
}

// Kinds returns the kinds of document, in the schema's order.
func Kinds() []string { return module.Kinds() }

// Plural returns the field that documents of a kind stand in.
func Plural(kind string) string { return kind + "s" }
