package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestImportLaw(t *testing.T) {
	imports, err := Read(root(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(imports) < 100 {
		t.Fatalf("only %d imports found: the test does not look at the tree", len(imports))
	}
	for _, line := range Broken(imports) {
		t.Error(line)
	}
}

// TestLawBites proves that the law forbids what it says it forbids.
func TestLawBites(t *testing.T) {
	for _, i := range []Import{
		{From: "kernel/core", To: "agent/plan", Own: true},
		{From: "agent", To: "kernel/core", Own: true},
		{From: "agent", To: "isolation/runc", Own: true},
		{From: "isolation/runc", To: "agent", Own: true},
		{From: "kernel/stream", To: "kernel/core", Own: true},
		{From: "kernel/core", To: "kernel", Own: true},
		{From: "sdk", To: "sdk/wire", Own: true},
		{From: "sdk/client", To: "kernel/gate", Own: true},
		{From: "plugins/drf", To: "kernel/offer", Own: true},
		{From: "plugins/drf", To: "plugins/binpack", Own: true},
		{From: "kernel/gate", To: "cuelang.org/go/cue"},
		{From: "kernel", To: "github.com/tetratelabs/wazero"},
		{From: "agent/image", To: "go.etcd.io/bbolt"},
		{From: "kernel/core", To: "time"},
		{From: "kernel/offer", To: "math/rand"},
		{From: "agent/plan", To: "os"},
		{From: "kernel", To: "conformance/sim", Own: true},
		{From: "kernel/gate", To: "cue/load", Own: true},
	} {
		if len(Broken([]Import{i})) == 0 {
			t.Errorf("%s may import %s", i.From, i.To)
		}
	}
}

// TestPureCode proves what imports alone do not show: no goroutine, no channel,
// no clock in packages that decide, and no floating point in those whose state
// is replicated.
func TestPureCode(t *testing.T) {
	replicated := []string{"kernel/core", "kernel/account", "kernel/offer"}
	for _, pkg := range Pure {
		eachFile(t, pkg, func(path string, f *ast.File) {
			generated := ast.IsGenerated(f)
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s starts a goroutine", path)
				case *ast.ChanType:
					t.Errorf("%s uses a channel", path)
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "Sleep", "NewTimer", "Tick"}, n.Sel.Name) {
						t.Errorf("%s reads the clock: time.%s", path, n.Sel.Name)
					}
				case *ast.Ident:
					if !generated && slices.Contains(replicated, pkg) && (n.Name == "float64" || n.Name == "float32") {
						t.Errorf("%s uses floating point", path)
					}
				}
				return true
			})
		})
	}
}

func eachFile(t *testing.T, pkg string, f func(path string, file *ast.File)) {
	t.Helper()
	dir := filepath.Join(root(t), pkg)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		f(pkg+"/"+e.Name(), file)
	}
}

// TestPureBuildsForWasm proves that what decides has no tie to a machine.
func TestPureBuildsForWasm(t *testing.T) {
	args := []string{"build"}
	for _, p := range Pure {
		if p != "isolation/bundle" { // names of Linux system calls
			args = append(args, "./"+p)
		}
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root(t)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestEveryPackageSaysWhatItIs proves that each package has a package comment.
func TestEveryPackageSaysWhatItIs(t *testing.T) {
	has, seen := map[string]bool{}, map[string]bool{}
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root(t) && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		dir := filepath.Dir(path)
		seen[dir] = true
		if f.Doc != nil {
			has[dir] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir := range seen {
		if !has[dir] {
			t.Errorf("%s has no package comment", dir)
		}
	}
}
