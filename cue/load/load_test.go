package load

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/parser"
	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/sdk/doc"
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

func parse(t testing.TB, name string, text []byte) []*ast.File {
	tree, err := parser.ParseFile(name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return []*ast.File{tree}
}

// A 50-line service, as the aim for the cost of a check has it.
func fifty(t testing.TB) string {
	text, err := os.ReadFile("../testdata/good/full.cue")
	if err != nil {
		t.Fatal(err)
	}
	from := bytes.Index(text, []byte("services: full:"))
	to := bytes.Index(text, []byte("jobs: full:"))
	return strings.Replace(string(text[from:to]), "service.#Service & ", "", 1)
}

// cpu reports the processor time of each round beside the clock's, which on a
// busy machine says little. Call what it returns at the end.
func cpu(b *testing.B) func() {
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began := used()
	return func() { b.ReportMetric(float64(used()-began)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op") }
}

// BenchmarkVet is what one run of the command line costs, the schema's
// compilation included.
func BenchmarkVet(b *testing.B) {
	text := fifty(b)
	defer cpu(b)()
	for b.Loop() {
		if _, diags := NewChecker().Source("a.cue", text); len(diags) > 0 {
			b.Fatal(diags)
		}
	}
}

// BenchmarkSource is a further check of CUE text in a process that runs.
func BenchmarkSource(b *testing.B) {
	c, text := NewChecker(), fifty(b)
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		if _, diags := c.Source("a.cue", text); len(diags) > 0 {
			b.Fatal(diags)
		}
	}
}

// BenchmarkCheck is a check of a canonical body against the schema.
func BenchmarkCheck(b *testing.B) {
	c := NewChecker()
	set, diags := c.Source("a.cue", fifty(b))
	if len(diags) > 0 {
		b.Fatal(diags)
	}
	d := set.Documents[0]
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		if diags := c.Check(d.Ref.Kind, d.Ref.Name, d.Body); len(diags) > 0 {
			b.Fatal(diags)
		}
	}
}

// BenchmarkDecode is what the kernel does with a canonical body: strict decoding
// and the checks that need no CUE.
func BenchmarkDecode(b *testing.B) {
	set, diags := NewChecker().Source("a.cue", fifty(b))
	if len(diags) > 0 {
		b.Fatal(diags)
	}
	d := set.Documents[0]
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		v, err := doc.Decode(d.Ref.Kind, d.Body)
		if err != nil || len(doc.Validate(d.Ref.Name, v)) > 0 {
			b.Fatal(err)
		}
	}
}
