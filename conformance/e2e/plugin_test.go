package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

// plugin builds a plugin of testdata as a vendor would, and returns its module.
func (c *cluster) plugin(folder, name, point, does string) string {
	c.t.Helper()
	module := filepath.Join(c.dir, name+".wasm")
	manifest := filepath.Join(c.dir, name+".cue")
	text := fmt.Sprintf("plugins: %q: {\n\tversion: \"0.1.0\"\n\tpoint: %q\n\tabi: 1\n\tsummary: \"does what it must not\"\n\troles: [\"\"]\n}\n", name, point)
	if err := os.WriteFile(manifest, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	build := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags", "-s -w -X main.does="+does, "-o", module, "./testdata/"+folder)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		c.t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command(filepath.Join(root, "bin", "plugin-pack"), manifest, module).CombinedOutput(); err != nil {
		c.t.Fatalf("%v\n%s", err, out)
	}
	return module
}

func (c *cluster) pluginView(name string) (v sdk.PluginView) {
	c.t.Helper()
	if err := json.Unmarshal([]byte(c.drupe("plugin", "show", name, "-o", "json")), &v); err != nil {
		c.t.Fatal(err)
	}
	return v
}

// TestHostilePlugins installs plugins that trap, never end, eat memory, answer
// garbage and reach for what is not theirs. Each is refused, counted and, when it
// goes on, quarantined; the policy before it takes over; what runs runs on.
func TestHostilePlugins(t *testing.T) {
	c := startDev(t, 2)
	c.apply(steady("calm", 2, ""), "--wait=1m")
	before := pids(c.untilTasks("calm", "health", allHealthy(2)))

	for _, x := range []struct {
		does   string
		reason string
	}{{"trap", "trap"}, {"loop", "deadline"}, {"eat", "memory"}} {
		t.Run(x.does, func(t *testing.T) {
			c := *c
			c.t = t
			name := "bad-" + x.does
			c.drupe("plugin", "install", c.plugin("badpolicy", name, "policy", x.does))
			c.drupe("policy", "use", name)
			// The bad one is asked to place this, and the good one does.
			c.apply(steady("after-"+x.does, 1, ""), "--wait=1m")
			v := c.pluginView(name)
			if !v.Quarantined || v.Active || v.Rejected == 0 || v.Calls == 0 {
				t.Errorf("%s is not quarantined: %+v", name, v)
			}
			if !strings.Contains(v.Detail, x.reason) {
				t.Errorf("why it is quarantined: %q, want %s", v.Detail, x.reason)
			}
			if out := c.drupe("policy", "show"); !strings.Contains(out, "drf schedules") {
				t.Errorf("the policy before did not take over:\n%s", out)
			}
			if _, errs, code := c.run("policy", "use", name); code != 5 || !strings.Contains(errs, "is quarantined") {
				t.Errorf("a quarantined policy is used again: exit code %d: %s", code, errs)
			}
		})
	}

	// Garbage is refused wish by wish; whoever wants to can take over.
	c.drupe("plugin", "install", c.plugin("badpolicy", "bad-garbage", "policy", "garbage"))
	c.drupe("policy", "use", "bad-garbage")
	c.apply(steady("after-garbage", 1, ""))
	c.until("the policy to be asked", func() bool { return c.pluginView("bad-garbage").Calls > 0 })
	if tasks := c.tasks("after-garbage", true); len(tasks) > 0 {
		t.Errorf("garbage was placed: %+v", tasks)
	}
	c.drupe("policy", "use", "binpack")
	c.drupe("wait", "after-garbage", "--timeout", "1m")

	// A framework that reaches for what is not its own.
	c.drupe("plugin", "install", c.plugin("thief", "thief", "framework", ""))
	c.until("the thief's quarantine", func() bool { return c.pluginView("thief").Quarantined })
	if v := c.pluginView("thief"); v.Rejected == 0 {
		t.Errorf("the thief's calls are not counted: %+v", v)
	}

	// A file that is no plugin.
	junk := filepath.Join(c.dir, "junk.wasm")
	if err := os.WriteFile(junk, []byte("\x00asm\x01\x00\x00\x00junk that is no section"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := c.run("plugin", "install", junk); code != 9 {
		t.Errorf("junk is installed: exit code %d: %s", code, errs)
	}

	if after := pids(c.untilTasks("calm", "health", allHealthy(2))); after != before {
		t.Errorf("processes were %s and are %s", before, after)
	}
}
