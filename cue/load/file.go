package load

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/token"

	"github.com/drupe-os/drupe/cue/diagnose"
)

// maxFile bounds one file, so that a wrong path cannot fill the memory.
const maxFile = 8 << 20

// file is one file of the user's.
type file struct {
	name string // as messages show it
	dir  string // its folder, absolute; "" for a text that has none
	text []byte
	tree *ast.File
}

// line returns the text of a line, counted from 1.
func (f *file) line(n int) string {
	for i, l := range bytes.Split(f.text, []byte("\n")) {
		if i == n-1 {
			return string(bytes.TrimSuffix(l, []byte("\r")))
		}
	}
	return ""
}

// mark puts a diagnostic at a position of the file, marking width bytes.
func (f *file) mark(d *diagnose.Diagnostic, pos token.Pos, width int) {
	d.File = f.name
	if !pos.IsValid() {
		return
	}
	d.Line, d.Column, d.Width = pos.Line(), pos.Column(), width
	d.Source = f.line(d.Line)
}

// markNode puts a diagnostic at a node, marking its first line.
func (f *file) markNode(d *diagnose.Diagnostic, n ast.Node) {
	width := n.End().Offset() - n.Pos().Offset()
	f.mark(d, n.Pos(), width)
	if rest := len(d.Source) - (d.Column - 1); width > rest {
		d.Width = len(strings.TrimRight(d.Source[min(max(d.Column-1, 0), len(d.Source)):], " \t,{"))
	}
}

// gather reads the files that the paths name: files, folders (their .cue files),
// folders ending in "/..." (with all below), "-" for stdin.
func gather(paths []string, stdin io.Reader) ([]*file, []diagnose.Diagnostic) {
	var out []*file
	var diags []diagnose.Diagnostic
	bad := func(name, message, help string) {
		diags = append(diags, diagnose.Diagnostic{Code: diagnose.Unreadable, File: name, Message: message, Help: help})
	}
	read := func(name string, r io.Reader, dir string) {
		text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
		switch {
		case err != nil:
			bad(name, "cannot be read: "+err.Error(), "")
		case len(text) > maxFile:
			bad(name, fmt.Sprintf("is larger than %d MiB", maxFile>>20), "split it into several files of one package")
		default:
			out = append(out, &file{name: name, dir: dir, text: text})
		}
	}
	open := func(name string) {
		for _, f := range out {
			if f.name == name {
				return
			}
		}
		r, err := os.Open(name)
		if err != nil {
			bad(name, "cannot be read: "+reason(err), "")
			return
		}
		defer r.Close()
		dir, err := filepath.Abs(filepath.Dir(name))
		if err != nil {
			dir = filepath.Dir(name)
		}
		read(name, r, dir)
	}
	for _, p := range paths {
		if p == "-" {
			dir, _ := os.Getwd()
			read("-", stdin, dir)
			continue
		}
		tree, deep := strings.CutSuffix(p, "/...")
		info, err := os.Stat(tree)
		switch {
		case err != nil:
			bad(p, "cannot be read: "+reason(err), "name a .cue file or a folder that holds some")
		case info.IsDir():
			names, err := listCUE(tree, deep)
			if err != nil {
				bad(p, "cannot be read: "+reason(err), "")
			} else if len(names) == 0 {
				bad(p, "holds no .cue file", "name a .cue file or a folder that holds some; FOLDER/... takes those below as well")
			}
			for _, n := range names {
				open(n)
			}
		default:
			open(tree)
		}
	}
	return out, diags
}

// reason is the cause of a file error without the path, which is shown already.
func reason(err error) string {
	if pe, ok := err.(*fs.PathError); ok {
		return pe.Err.Error()
	}
	return err.Error()
}

// listCUE returns the .cue files of a folder, sorted. Names that begin with "."
// or "_", tests and the module's own folder are left out, as CUE does.
func listCUE(dir string, deep bool) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir():
			if p != dir && (!deep || skipped(name) || name == "cue.mod") {
				return fs.SkipDir
			}
		case strings.HasSuffix(name, ".cue") && !skipped(name) && !strings.HasSuffix(name, "_test.cue") && !strings.HasSuffix(name, "_tool.cue"):
			out = append(out, p)
		}
		return nil
	})
	slices.Sort(out)
	return out, err
}

func skipped(name string) bool { return name[0] == '.' || name[0] == '_' }

// packages groups files that belong together: those of one folder with one
// package name.
func packages(files []*file) [][]*file {
	var out [][]*file
	at := map[string]int{}
	for _, f := range files {
		k := f.dir + "\x00" + f.tree.PackageName()
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], f)
	}
	return out
}
