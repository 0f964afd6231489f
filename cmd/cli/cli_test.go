package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

// run runs a command line in this process.
func run(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Main(args, strings.NewReader(""), &out, &err, []string{"DRUPE_CONFIG=/nonexistent"})
	return code, out.String(), err.String()
}

// Every command has help with an example, works without a cluster, and fits a
// terminal. The tree is walked, so that a new command cannot forget it.
func TestHelpOfEveryCommand(t *testing.T) {
	a := &app{now: time.Now}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		path := strings.Fields(c.CommandPath())[1:]
		topic := !c.Runnable()
		args := append(path, "--help")
		if topic {
			args = append([]string{"help"}, path...)
		}
		code, out, errText := run(args...)
		if code != 0 || errText != "" || c.Short == "" {
			t.Errorf("%v: exit code %d, stderr %q, short %q", args, code, errText, c.Short)
		}
		if !topic && (c.Example == "" || !strings.Contains(out, "\nExamples:\n")) {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if !strings.Contains(line, "drupe ") {
				t.Errorf("%s: example %q is no command", c.CommandPath(), line)
			}
		}
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
				t.Errorf("%s: a line of help has %d characters: %s", c.CommandPath(), n, line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(a.root())
}

func TestExitCodesAreDocumented(t *testing.T) {
	_, out, _ := run("help", "exit-codes")
	for _, c := range exitCodes {
		if !strings.Contains(out, c.text) {
			t.Errorf("code %d is not in the help", c.code)
		}
	}
	want := map[sdk.FaultKind]int{sdk.Invalid: 2, sdk.NotFound: 3, sdk.Conflict: 5, sdk.Unauthenticated: 4, sdk.Denied: 4,
		sdk.TooLarge: 1, sdk.Exhausted: 1, sdk.Unplaceable: 6, sdk.Timeout: 1, sdk.Unavailable: 8, sdk.Corrupt: 1,
		sdk.Unsupported: 1, sdk.Internal: 1}
	for kind, code := range want {
		if got := codeOf(sdk.Errorf(kind, "x", "y")); got != code {
			t.Errorf("%s: exit code %d, want %d", kind, got, code)
		}
	}
}

func TestErrorsAreShort(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: &out}
	a.finish(sdk.Errorf(sdk.Invalid, "service/x", "bad\nthing\x1b[31m").Because("of\nthis").ToFix("do\nthat").At("run"))
	if got, want := out.String(), "error: service/x: run: bad thing?[31m\n  why: of this\n  fix: do that\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTablesFit(t *testing.T) {
	long := strings.Repeat("ä", 63)
	for _, width := range []string{"1", "20", "40", "80", "200"} {
		var out bytes.Buffer
		a := &app{out: &out, env: []string{"COLUMNS=" + width}}
		tb := newTable("NAME", "STATE", "NODE", "DETAIL")
		tb.add(long, "running", long, strings.Repeat("x", 300))
		tb.add("  a", "b", "", "d\ne")
		a.write(tb)
		for line := range strings.Lines(out.String()) {
			if n := utf8.RuneCountInString(line) - 1; n > a.width() {
				t.Errorf("width %s: %d characters: %s", width, n, line)
			}
		}
	}
}

func TestAges(t *testing.T) {
	now := time.UnixMilli(1e12)
	a := &app{now: func() time.Time { return now }}
	for ms, want := range map[int64]string{-5: "0s", 0: "0s", 119_000: "119s", 120_000: "2m", 7199_000: "119m", 7200_000: "2h", 172_800_000: "2d"} {
		if got := a.age(sdk.Time(now.UnixMilli() - ms)); got != want {
			t.Errorf("%d ms: %s, want %s", ms, got, want)
		}
	}
	if a.age(0) != "" {
		t.Error("no time has an age")
	}
}

func TestContextsAreSecret(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "drupe")
	c, err := client.SaveContext(folder, "dev", client.Context{Address: "https://x"}, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.SaveContext(folder, "prod", client.Context{Address: "https://y"}, "other"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"contexts.json", "dev.token"} {
		if info, err := os.Stat(filepath.Join(folder, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	if token, err := client.ReadToken(c.TokenFile); token != "secret" || err != nil {
		t.Errorf("%q %v", token, err)
	}
	if c, err := client.LoadContext(folder, ""); err != nil || c.Address != "https://y" {
		t.Errorf("current is %+v %v", c, err)
	}
	for _, name := range []string{"prod", "dev", "dev"} {
		if err := client.RemoveContext(folder, name); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the folder is left after the last context: %v", err)
	}
	if _, err := client.LoadContext(folder, ""); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("%v", err)
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		n    int
	}{{"", "abc", 3}, {"hello", "helo", 1}, {"hello", "hello", 0}, {"kitten", "sitting", 3}} {
		if got := editDistance(c.a, c.b); got != c.n {
			t.Errorf("%s %s: %d", c.a, c.b, got)
		}
	}
}
