package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/schema"
)

// write lays files down in a new folder and makes it the current one.
func write(t *testing.T, files map[string]string) string {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func refs(set *Set) string {
	var out []string
	for _, d := range set.Documents {
		out = append(out, d.Ref.String())
	}
	return strings.Join(out, " ")
}

const web = `services: web: run: container: image: "oci:images/web"
`

func TestPaths(t *testing.T) {
	dir := write(t, map[string]string{
		"a/web.cue":         "package a\n" + web,
		"a/role.cue":        "package a\nroles: \"eng/web\": {}\nroles: eng: {}\n",
		"a/_draft.cue":      "not CUE at all",
		"a/a_tool.cue":      "package a\nx: nowhere",
		"a/notes.txt":       "text",
		"a/deep/db.cue":     "jobs: db: run: container: image: \"oci:../images/db:v2\"\n",
		"a/deep/.x/bad.cue": "}}}",
		"b.cue":             strings.ReplaceAll(web, "web", "b"),
	})
	for _, c := range []struct{ paths, want string }{
		{"a", "role/eng role/eng/web service/web"},
		{"a/...", "role/eng role/eng/web service/web job/db"},
		{"a/web.cue a a/web.cue", "role/eng role/eng/web service/web"},
		{"a b.cue", "role/eng role/eng/web service/b service/web"},
		{"./...", "role/eng role/eng/web service/b service/web job/db"},
	} {
		set, diags := Files(strings.Fields(c.paths))
		if len(diags) > 0 || refs(set) != c.want {
			t.Errorf("%s: %s, want %s %+v", c.paths, refs(set), c.want, diags)
		}
	}
	set, _ := Files([]string{"a/deep"})
	if got, want := string(set.Documents[0].Body), `{"run":{"container":{"image":"oci:`+dir+`/a/images/db:v2"}}}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	set, diags := read(schema.New(), []string{"-"}, strings.NewReader(web))
	if len(diags) > 0 || len(set.Documents) != 1 || !strings.Contains(string(set.Documents[0].Body), "oci:"+dir+"/images/web") {
		t.Errorf("stdin: %+v %+v", set, diags)
	}
	if d := set.Documents[0]; d.Source != web || d.File != "-" || d.Line != 1 {
		t.Errorf("%+v", d)
	}
	for _, path := range []string{"nowhere", "nowhere.cue", "a/notes.txt"} {
		if _, diags := Files([]string{path}); len(diags) != 1 || diags[0].File != path {
			t.Errorf("%s: %+v", path, diags)
		}
	}
}

func TestOwnModule(t *testing.T) {
	write(t, map[string]string{
		"cue.mod/module.cue":                     "module: \"example.com/shop@v0\"\nlanguage: version: \"v0.17.0\"\n",
		"lib/lib.cue":                            "package lib\n\nimport \"drupe.dev/service\"\n\n#Web: service.#Service & {run: container: image: \"oci:/srv/web\"}\n",
		"lib/other.cue":                          "package other\n",
		"cue.mod/pkg/example.org/vendored/v.cue": "package vendored\nn: 2\n",
		"app/app.cue":                            "package app\n\nimport (\n\t\"example.com/shop/lib\"\n\t\"example.org/vendored\"\n)\n\nservices: web: lib.#Web & {instances: vendored.n}\n",
		"wrong/a.cue":                            "package wrong\n\nimport \"example.com/shop/lib\"\n\nservices: web: lib.#Web & {instnces: 2}\n",
	})
	set, diags := Files([]string{"app"})
	if len(diags) > 0 || string(set.Documents[0].Body) != `{"instances":2,"run":{"container":{"image":"oci:/srv/web"}}}` {
		t.Errorf("%+v %+v", set, diags)
	}
	if _, diags := Files([]string{"wrong"}); len(diags) != 1 || diags[0].Line != 5 || diags[0].Code != diagnose.UnknownField {
		t.Errorf("%+v", diags)
	}
}

// TestAllAtOnce shows that mistakes of every file and kind come in one run.
func TestAllAtOnce(t *testing.T) {
	write(t, map[string]string{
		"a/a.cue": "package a\nservices: a: {instnces: 1, run: {}}\n",
		"b/b.cue": "services: b: {\n",
		"c/c.cue": "jobs: c: {run: container: image: \"oci:/c\", schedule: cron: \"x\"}\n",
		"d/d.cue": web,
	})
	set, diags := Files([]string{"./...", "nowhere"})
	if len(set.Documents) != 0 {
		t.Errorf("documents in spite of mistakes: %s", refs(set))
	}
	files := map[string]int{}
	for _, d := range diags {
		files[d.File]++
	}
	if len(diags) != 5 || files["a/a.cue"] != 2 || files["b/b.cue"] != 1 || files["c/c.cue"] != 1 || files["nowhere"] != 1 {
		t.Errorf("%v", files)
	}
}

// TestHostile feeds what no person writes: it must come back as diagnostics.
func TestHostile(t *testing.T) {
	for name, text := range map[string]string{
		"nul":      "services: \x00: {}",
		"not utf8": "services: \"\xff\xfe\": {}",
		"bom":      "\xef\xbb\xbfservices: web: x: 1",
		"escape":   "services: web: \"\\u001b[31m\": 1",
		"nested":   strings.Repeat("services: web: {", 200) + strings.Repeat("}", 200),
		"cycle":    "services: web: services.web\n",
		"self":     "#a: {b: #a}\nservices: web: #a\n",
		"bottom":   "services: _|_\n",
		"null":     "null",
		"list":     "[1, 2]",
		"number":   "services: web: instances: 1e999999\n",
		"long":     "services: " + strings.Repeat("a", 1<<16) + ": {}",
	} {
		set, diags := Source("x.cue", text)
		if len(diags) == 0 || len(set.Documents) > 0 {
			t.Errorf("%s: %d diagnostics, %d documents", name, len(diags), len(set.Documents))
		}
		var b strings.Builder
		if err := diagnose.Render(&b, diags, false); err != nil || strings.ContainsAny(b.String(), "\x00\x1b") {
			t.Errorf("%s: %q", name, b.String())
		}
	}
}

func FuzzSource(f *testing.F) {
	f.Add(web)
	c := NewChecker()
	f.Fuzz(func(t *testing.T, text string) {
		for _, never := range []string{"for", "list", "math", "strings", "|", "*", `\(`} {
			if strings.Contains(text, never) {
				t.Skip("may run long, which the worker is for")
			}
		}
		set, diags := c.Source("x.cue", text)
		if (len(set.Documents) == 0) != (len(diags) > 0) {
			t.Errorf("%d documents, %d diagnostics", len(set.Documents), len(diags))
		}
	})
}
