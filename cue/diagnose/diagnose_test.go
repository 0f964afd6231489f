package diagnose

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func render(t *testing.T, color bool, d ...Diagnostic) string {
	t.Helper()
	var b strings.Builder
	if err := Render(&b, d, color); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRender(t *testing.T) {
	full := Diagnostic{Code: UnknownField, Message: `unknown field "x"`, File: "a.cue", Line: 3, Column: 2, Width: 1, Source: "\tx: 1",
		Subject: "service/web", Field: "x", Allowed: "y, z", Help: `did you mean "y"?`}
	want := `error: unknown field "x"
  --> a.cue:3:2  (service/web: x)
   3 | x: 1
     | ^ did you mean "y"?
     = allowed: y, z
`
	if got := render(t, false, full); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := render(t, true, full); !strings.Contains(got, "\x1b[") || stripped(got) != want {
		t.Errorf("in colour:\n%s", got)
	}
	bare := Diagnostic{Message: "no file", Help: "make one"}
	if got := render(t, false, bare); got != "error: no file\n     = help: make one\n" {
		t.Errorf("%q", got)
	}
}

func stripped(s string) string {
	for _, c := range []string{red, bold, blue, green, reset} {
		s = strings.ReplaceAll(s, c, "")
	}
	return s
}

// TestCaret puts the caret under what it means, whatever stands before it.
func TestCaret(t *testing.T) {
	for name, src := range map[string]string{
		"tab":    "\t\t",
		"wide":   "größe: \"ü\", ",
		"long":   strings.Repeat("y", 300),
		"spaces": "        ",
	} {
		d := Diagnostic{Message: "m", File: "f", Line: 1, Column: len(src) + 1, Width: 4, Source: src + "HERE" + strings.Repeat("z", 300)}
		lines := strings.Split(render(t, false, d), "\n")
		text, caret := []rune(lines[2]), []rune(lines[3])
		at := strings.IndexRune(string(caret), '^')
		if at < 0 || at+4 > len(text) || string(text[at:at+4]) != "HERE" || !strings.HasSuffix(lines[3], "^^^^") {
			t.Errorf("%s:\n%s\n%s", name, lines[2], lines[3])
		}
		if len(text) > 7+maxLine+2 {
			t.Errorf("%s: %d characters", name, len(text))
		}
	}
}

// TestHostile shows that no field of a diagnostic can break the output.
func TestHostile(t *testing.T) {
	for _, d := range []Diagnostic{
		{Line: 1, Column: 0, Width: -5, Source: "x"},
		{Line: 1, Column: 99, Width: 99, Source: "x"},
		{Line: 1, Column: 1, Width: 1, Source: "\x1b[2J\x07\xff"},
		{Line: 1, Column: 2, Source: ""},
	} {
		if got := render(t, false, d); strings.ContainsAny(got, "\x1b\x07") {
			t.Errorf("%q", got)
		}
	}
}

func TestFault(t *testing.T) {
	if Fault(nil) != nil {
		t.Error("a fault of nothing")
	}
	f := Fault([]Diagnostic{{Message: "m", Subject: "service/a", Field: "x", Help: "h", Allowed: "b"}, {Message: "n"}})
	if f.Kind != sdk.Invalid || f.Error() != "service/a: x: m; 1 more (allowed: b)" || f.Fix != "h" {
		t.Errorf("%+v", f)
	}
}

func TestJSON(t *testing.T) {
	raw, err := json.Marshal(Diagnostic{Code: Conflict, Message: "m", File: "f", Line: 1, Column: 2})
	if err != nil || string(raw) != `{"code":"conflict","message":"m","file":"f","line":1,"column":2}` {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestNearest(t *testing.T) {
	fields := []string{"role", "instances", "constraints", "run", "env", "resources", "limits", "ports", "checks", "grace", "logs"}
	for word, want := range map[string]string{
		"instnces": "instances", "instance": "instances", "Instances": "instances", "rnu": "run", "port": "ports", "roel": "role",
		"resorces": "resources", "check": "checks", "contraints": "constraints", "x": "", "zzz": "", "database": "", "environment": "",
	} {
		if got := Nearest(word, fields); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
	if Habit("environment", fields) != "env" || Habit("replicas", fields) != "instances" || Habit("nothing", fields) != "" {
		t.Error("habits")
	}
}
