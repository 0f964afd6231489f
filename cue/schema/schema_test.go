package schema

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"cuelang.org/go/cue"
)

var update = flag.Bool("update", false, "rewrite the tables in README.md")

// TestReadme keeps the tables of fields in the README as the schema has them.
func TestReadme(t *testing.T) {
	const begin, end = "<!-- fields: rewritten by go test ./cue/schema -update -->\n", "<!-- end of fields -->"
	old, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the README has lost its marks")
	}
	text := []byte(head + begin + tables(t) + end + tail)
	if bytes.Equal(text, old) {
		return
	}
	if !*update {
		t.Fatal("the tables are out of date: go test ./cue/schema -update")
	}
	if err := os.WriteFile("../README.md", text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func tables(t *testing.T) string {
	var b strings.Builder
	s := New()
	for _, kind := range Kinds() {
		f, ok := s.Lookup([]string{Plural(kind), "x"})
		if !ok {
			t.Fatalf("no %s", kind)
		}
		fmt.Fprintf(&b, "\n### %s\n\n| field | holds | |\n|---|---|---|\n", Plural(kind))
		rows(&b, "", f)
	}
	return b.String() + "\n"
}

func rows(b *strings.Builder, at string, f Field) {
	for _, c := range Children(f.Value) {
		name, doc := c.Name, c.Doc()
		if name == "" {
			name = "NAME"
		}
		name = strings.TrimPrefix(at+"."+name, ".")
		if Kind(f.Value) == cue.ListKind {
			name, doc = at+"[]", ""
		}
		mark := ""
		if c.Required {
			mark = "!"
		}
		want := Want(c.Value)
		switch Kind(c.Value) {
		case cue.StructKind:
			want = "{…}"
		case cue.ListKind:
			want = "[…]"
		}
		if doc != "" || Kind(c.Value) != cue.StructKind {
			fmt.Fprintf(b, "| `%s%s` | %s | %s |\n", name, mark, cell(want), cell(doc))
		}
		rows(b, name, c)
	}
}

func cell(s string) string { return strings.ReplaceAll(s, "|", "\\|") }

// TestDocumented insists on a comment for everything people can write: it is
// the help text.
func TestDocumented(t *testing.T) {
	n := 0
	var walk func(at string, v cue.Value)
	walk = func(at string, v cue.Value) {
		for _, c := range Children(v) {
			where := at + "." + c.Name
			if c.Name != "" {
				n++
				if d := c.Doc(); d == "" || !strings.HasSuffix(d, ".") {
					t.Errorf("%s: %q", where, d)
				}
			}
			if k := Kind(c.Value); k != cue.StructKind && k != cue.ListKind {
				if w := Want(c.Value); w == "" || strings.Contains(w, "matches") {
					t.Errorf("%s: nothing for people to read: %q", where, w)
				}
			}
			walk(where, c.Value)
		}
	}
	walk("", New().Root())
	if n < 100 {
		t.Errorf("only %d fields seen", n)
	}
}

func TestLookup(t *testing.T) {
	s := New()
	for _, c := range []struct {
		path string
		kind cue.Kind
	}{
		{"services", cue.StructKind},
		{"services web run", cue.StructKind},
		{"services web run container image", cue.StringKind},
		{"services web constraints 3 operator", cue.StringKind},
		{"services web resources fpga", cue.NumberKind},
		{"services web resources mem", cue.IntKind},
		{"roles eng/web limit", cue.StructKind},
		{"services Web", 0},
		{"services web nothing", 0},
	} {
		f, ok := s.Lookup(strings.Fields(c.path))
		if ok != (c.kind != 0) || ok && Kind(f.Value) != c.kind {
			t.Errorf("%s: %v %v", c.path, ok, Kind(f.Value))
		}
	}
}

func TestIsOwn(t *testing.T) {
	for path, want := range map[string]bool{
		"drupe.dev/service": true, "drupe.dev/service@v1": true, "drupe.dev/service@v1:service": true,
		"drupe.dev/service@v2": false, "drupe.dev/nothing": false, "drupe.dev": false, "example.com/service": false, "drupe.dev/../x": false,
	} {
		if IsOwn(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}
