package probe

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what is found into the recordings")

// Machines of several kinds, as their files in /proc and /sys were, and what is
// found of them. A file whose name ends in .link is a link.
func TestRecorded(t *testing.T) {
	for name, dir := range map[string]string{"one-socket": "/", "two-sockets": "/data disk/drupe", "arm": "/srv"} {
		t.Run(name, func(t *testing.T) {
			recording := filepath.Join("testdata", name+".txtar")
			a, err := txtar.ParseFile(recording)
			if err != nil {
				t.Fatal(err)
			}
			root, want := t.TempDir(), ""
			kept := a.Files[:0]
			for _, f := range a.Files {
				if f.Name == "found" {
					want = string(f.Data)
					continue
				}
				kept = append(kept, f)
				p := filepath.Join(root, f.Name)
				if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
					t.Fatal(err)
				}
				if link, ok := strings.CutSuffix(p, ".link"); ok {
					err = os.Symlink(strings.TrimSpace(string(f.Data)), link)
				} else {
					err = os.WriteFile(p, f.Data, 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			r := roots{proc: filepath.Join(root, "proc"), cgroup: filepath.Join(root, "cg"), sys: filepath.Join(root, "sys"), arch: "any",
				calls: calls{func() bool { return true }, func() bool { return name != "arm" }, func() string { return map[string]string{"arm": "3.17", "one-socket": "4.2.1"}[name] }}}
			var b strings.Builder
			for _, f := range r.attributes(dir) {
				b.WriteString(f.Name + "=" + f.Value + "\n")
			}
			if *update {
				a.Files = append(kept, txtar.File{Name: "found", Data: []byte(b.String())})
				if err := os.WriteFile(recording, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if b.String() != want {
				t.Errorf("found:\n%s\nnot:\n%s", b.String(), want)
			}
		})
	}
}

func TestAtLeast(t *testing.T) {
	for _, tt := range []struct {
		version, least string
		want           bool
	}{
		{"6.18.2", "5.12", true}, {"5.12", "5.12", true}, {"5.9.16", "5.12", false}, {"5.12.0-rc1+", "5.12", true},
		{"5", "5.12", false}, {"", "5.12", false}, {"4.2", "4.2", true}, {"10.0-generic", "9.9.9", true}, {"5.19-arch", "5.19", true},
	} {
		if got := AtLeast(tt.version, tt.least); got != tt.want {
			t.Errorf("AtLeast(%q, %q) = %v", tt.version, tt.least, got)
		}
	}
}

// What a node offers of its disk does not depend on what is on it.
func TestDiskDoesNotDrift(t *testing.T) {
	dir := t.TempDir()
	before, err := diskOf(dir)
	if err != nil || before <= 0 {
		t.Fatal(before, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big"), make([]byte, 32<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if after, err := diskOf(dir); err != nil || after != before {
		t.Errorf("%d, then %d, %v", before, after, err)
	}
}
