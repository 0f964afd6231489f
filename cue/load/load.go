// Package load turns files into documents: it reads them, checks them against
// the schema whether they import it or not, and either returns every document in
// canonical form or every mistake in all of them, each with its place in the
// user's own text.
package load

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"cuelang.org/go/cue/parser"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/schema"
	"github.com/drupe-os/drupe/sdk"
)

// Loaded is one document as it was declared.
type Loaded struct {
	Ref  sdk.Ref      `json:"ref"`
	Role sdk.RolePath `json:"role,omitempty"` // charged for it; services and jobs only
	// Body is canonical JSON: sorted keys, no defaults. See doc.Canonical.
	Body sdk.RawJSON `json:"body"`
	// Source is the text of the file that declares the document.
	Source string `json:"source,omitempty"`
	// File and Line are where its name stands; Line counts from 1.
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// Set is what a set of files declares.
type Set struct {
	// Documents are in the order of their kinds and names.
	Documents []Loaded `json:"documents"`
}

// Files reads what the paths name and returns its documents, or every mistake
// found. A path is a file, a folder (its .cue files), a folder with "/..." (those
// below too), or "-" for standard input. Files of one folder and package are one
// unit. When there are mistakes the set holds no documents.
//
// Images in folders ("oci:images/web") are made absolute, relative to the folder
// of the file that names them. Nothing is fetched from anywhere.
func Files(paths []string) (*Set, []diagnose.Diagnostic) {
	return read(schema.New(), paths, os.Stdin)
}

// Source is Files for one text. name is used in messages only. Images keep their
// relative folders out: they are refused, because a text lies in no folder.
func Source(name, text string) (*Set, []diagnose.Diagnostic) {
	return NewChecker().Source(name, text)
}

func read(s *schema.Schema, paths []string, stdin io.Reader) (*Set, []diagnose.Diagnostic) {
	files, diags := gather(paths, stdin)
	set, more := load(s, files)
	diags = append(diags, more...)
	if len(diags) > 0 {
		return &Set{}, diags
	}
	return set, nil
}

// load checks files that are read.
func load(s *schema.Schema, files []*file) (*Set, []diagnose.Diagnostic) {
	var diags []diagnose.Diagnostic
	var good []*file
	for _, f := range files {
		tree, err := parser.ParseFile(f.name, f.text, parser.ParseComments)
		if err != nil {
			diags = append(diags, syntax(f, err)...)
			continue
		}
		f.tree = tree
		good = append(good, f)
	}
	set := &Set{}
	seen := map[sdk.Ref]Loaded{}
	for _, pack := range packages(good) {
		if len(good) < len(files) && brokenSibling(pack, files) {
			continue // what it lacks is perhaps in the file that cannot be read
		}
		docs, more := newUnit(s, pack).check()
		diags = append(diags, more...)
		for _, d := range docs {
			if first, ok := seen[d.Ref]; ok {
				dup := diagnose.Diagnostic{Code: diagnose.Conflict, File: d.File, Line: d.Line, Column: 1,
					Message: d.Ref.String() + " is declared twice, in two packages", Subject: d.Ref.String(),
					Help: fmt.Sprintf("the other is at %s:%d; give one of them another name", first.File, first.Line)}
				for _, f := range pack {
					if f.name == d.File {
						dup.Source = f.line(d.Line)
						dup.Column = max(strings.Index(dup.Source, d.Ref.Name), 0) + 1
						dup.Width = len(d.Ref.Name)
					}
				}
				diags = append(diags, dup)
			}
			seen[d.Ref] = d
		}
		set.Documents = append(set.Documents, docs...)
	}
	order(set.Documents)
	return set, diags
}

// brokenSibling reports whether a file that could not be parsed lies in the
// package's folder.
func brokenSibling(pack, files []*file) bool {
	return slices.ContainsFunc(files, func(f *file) bool { return f.tree == nil && f.dir == pack[0].dir && f.dir != "" })
}

// kindOrder is the order in which documents are applied: what others refer to
// comes first.
var kindOrder = []string{"plugin", "role", "node", "service", "job"}

func order(docs []Loaded) {
	slices.SortFunc(docs, func(a, b Loaded) int {
		if d := slices.Index(kindOrder, a.Ref.Kind) - slices.Index(kindOrder, b.Ref.Kind); d != 0 {
			return d
		}
		return strings.Compare(a.Ref.Name, b.Ref.Name)
	})
}
