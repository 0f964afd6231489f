package load

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/drupe-os/drupe/cue/diagnose"
)

var update = flag.Bool("update", false, "rewrite the expected output of testdata/bad")

// TestBad loads each folder of mistakes and compares what people are shown. Each
// archive holds files and, in "want", the rendered diagnostics.
func TestBad(t *testing.T) {
	names, err := filepath.Glob("../testdata/bad/*.txtar")
	if err != nil || len(names) < 30 {
		t.Fatalf("%d archives, %v", len(names), err)
	}
	for _, name := range names {
		name, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			arc, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			want := ""
			kept := arc.Files[:0]
			for _, f := range arc.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				kept = append(kept, f)
				if dir := filepath.Dir(f.Name); dir != "." {
					if err := os.MkdirAll(dir, 0o755); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.WriteFile(f.Name, f.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			set, diags := Files([]string{"."})
			if len(diags) == 0 || len(set.Documents) > 0 {
				t.Errorf("%d diagnostics, %d documents", len(diags), len(set.Documents))
			}
			var got bytes.Buffer
			if err := diagnose.Render(&got, diags, false); err != nil {
				t.Fatal(err)
			}
			for i, d := range diags {
				if d.File == "" || d.Line == 0 && d.Code != diagnose.Unreadable {
					t.Errorf("diagnostic %d has no place: %+v", i, d)
				}
				var one bytes.Buffer
				_ = diagnose.Render(&one, []diagnose.Diagnostic{d}, false)
				if n := strings.Count(one.String(), "\n"); n > 5 {
					t.Errorf("%d lines for one mistake:\n%s", n, one.String())
				}
			}
			if *update {
				arc.Files = append(kept, txtar.File{Name: "want", Data: got.Bytes()})
				if err := os.WriteFile(name, txtar.Format(arc), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got.String() != want {
				t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
			}
		})
	}
}
