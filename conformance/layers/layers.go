// Package layers is the import law of Drupe, as data and as a check.
//
// Whoever adds an import that the law forbids is told which line of the law it
// breaks and why the line is there.
package layers

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is Drupe's module path.
const Module = "github.com/drupe-os/drupe"

// Import is one edge: a file of a package imports another package.
type Import struct {
	From string // folder relative to the module, "" for its root
	To   string // import path; Drupe's own are relative folders
	Own  bool
	File string
	Test bool
}

// Read returns every import of the tree at root, tests included.
func Read(root string) ([]Import, error) {
	var out []Import
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		from := filepath.ToSlash(filepath.Dir(rel))
		for _, i := range f.Imports {
			to, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			own, is := strings.CutPrefix(to, Module+"/")
			if is {
				to = own
			}
			out = append(out, Import{From: from, To: to, Own: is, File: filepath.ToSlash(rel), Test: strings.HasSuffix(name, "_test.go")})
		}
		return nil
	})
	return out, err
}

// Broken returns one line for each import that breaks the law.
func Broken(imports []Import) []string {
	var out []string
	for _, i := range imports {
		for _, rule := range law {
			if why := rule(i); why != "" {
				out = append(out, fmt.Sprintf("%s imports %s: %s", i.File, i.To, why))
				break
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// top returns the first segment of a folder.
func top(folder string) string {
	first, _, _ := strings.Cut(folder, "/")
	return first
}

// within reports whether folder is dir or below it.
func within(folder, dir string) bool { return folder == dir || strings.HasPrefix(folder, dir+"/") }
