package load

import (
	"os"
	"path/filepath"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/literal"
	"cuelang.org/go/cue/parser"
	"cuelang.org/go/cue/token"

	"github.com/drupe-os/drupe/cue/schema"
)

// resolver answers imports of packages in the user's own module: the one whose
// cue.mod lies in dir or above it. Nothing is ever fetched. nil where there is
// no module.
func resolver(s *schema.Schema, dir string) schema.Resolver {
	root, name := ownModule(dir)
	if root == "" {
		return nil
	}
	var resolve schema.Resolver
	resolve = func(pos token.Pos, importPath string) *build.Instance {
		p := ast.ParseImportPath(importPath)
		folder := filepath.Join(root, "cue.mod", "pkg", filepath.FromSlash(p.Path))
		if rest, ok := strings.CutPrefix(p.Path+"/", name+"/"); ok && name != "" {
			folder = filepath.Join(root, filepath.FromSlash(rest))
		}
		names, err := listCUE(folder, false)
		if err != nil || len(names) == 0 {
			return nil
		}
		inst := s.NewInstance(resolve)
		inst.ImportPath, inst.PkgName = importPath, p.Qualifier
		for _, n := range names {
			text, err := os.ReadFile(n)
			if err != nil {
				inst.ReportError(errors.Newf(pos, "%s", err))
				continue
			}
			tree, err := parser.ParseFile(n, text, parser.ParseComments)
			if err != nil {
				inst.ReportError(errors.Promote(err, n))
				continue
			}
			if tree.PackageName() != p.Qualifier {
				continue
			}
			if err := inst.AddSyntax(tree); err != nil {
				inst.ReportError(err)
			}
		}
		return inst
	}
	return resolve
}

// ownModule returns the folder of the module around dir and its path without
// the major version.
func ownModule(dir string) (root, name string) {
	for dir != "" {
		text, err := os.ReadFile(filepath.Join(dir, "cue.mod", "module.cue"))
		if err == nil {
			return dir, moduleName(text)
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	return "", ""
}

// moduleName reads the module's path from the text of its module.cue.
func moduleName(text []byte) string {
	tree, err := parser.ParseFile("module.cue", text)
	if err != nil {
		return ""
	}
	for _, d := range tree.Decls {
		f, ok := d.(*ast.Field)
		if !ok {
			continue
		}
		lit, ok := f.Value.(*ast.BasicLit)
		if label, _, err := ast.LabelName(f.Label); !ok || err != nil || label != "module" {
			continue
		}
		path, err := literal.Unquote(lit.Value)
		if err != nil {
			return ""
		}
		name, _, _ := strings.Cut(path, "@")
		return name
	}
	return ""
}
