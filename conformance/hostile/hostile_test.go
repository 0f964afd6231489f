package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/bundle"
	"github.com/drupe-os/drupe/isolation/runc"
)

// canaries are files of the machine that no container may change.
var canaries = []string{"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sys/kernel/panic_on_oops"}

// watch checks at the end of a test that the machine is as it was.
func watch(t *testing.T) {
	t.Helper()
	before := map[string]string{}
	for _, c := range canaries {
		b, err := os.ReadFile(c)
		if err != nil {
			t.Fatal(err)
		}
		before[c] = string(b)
	}
	t.Cleanup(func() {
		for c, want := range before {
			if b, _ := os.ReadFile(c); string(b) != want {
				t.Errorf("%s is now %q, was %q", c, b, want)
			}
		}
	})
}

// TestAttacks runs every attack as a task that asks for nothing special: with
// user ids of its own, with a network of its own, as somebody else than root,
// and on a machine that cannot do user namespaces. None may succeed anywhere.
func TestAttacks(t *testing.T) {
	tests := []struct {
		name string
		node []func(*runc.Config)
		edit func(*isolation.Spec)
	}{
		{"default", nil, func(*isolation.Spec) {}},
		{"somebody", nil, func(s *isolation.Spec) { s.Program.User = "1000:1000" }},
		{"private-network", nil, func(s *isolation.Spec) { s.PrivateNetwork = true }},
		{"host-ids", []func(*runc.Config){hostIDs}, func(*isolation.Spec) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			watch(t)
			n := newNode(t, tt.node...)
			for name, r := range attack(t, n, tt.name, tt.edit) {
				switch {
				case r.verdict == Refused:
				case tt.name == "private-network" && inOwnNetwork[name]:
				default:
					t.Errorf("%s (%s): %s by %s", name, r.Tries, r.verdict, r.how)
				}
			}
		})
	}
}

// inOwnNetwork are attacks on a network that is the container's own: nobody
// is harmed.
var inOwnNetwork = map[string]bool{"low-port": true, "net-sysctl": true}

// TestAttacksAreReal runs them in a container that was granted everything. What
// the grant is for has to work: an attack that never can proves nothing. What
// reaches the machine is refused all the same, as the container's root is
// nobody there.
func TestAttacksAreReal(t *testing.T) {
	watch(t)
	n := newNode(t)
	if !n.Info().UserNamespaces {
		t.Fatalf("no user namespaces: %v", n.Info().Degraded)
	}
	for name, r := range attack(t, n, "granted", func(s *isolation.Spec) { s.Program.Capabilities = bundle.Capabilities() }) {
		switch {
		case r.Granted == Either:
		case r.Granted == Stopped && r.verdict == Refused:
		case r.Granted == Works && r.verdict == Escaped:
		default:
			t.Errorf("%s (%s): %s by %s", name, r.Tries, r.verdict, r.how)
		}
	}
}

// result is how an attack ended.
type result struct {
	Attack
	verdict, how string
}

// attack runs them all in one container.
func attack(t *testing.T, n *node, id string, edit func(*isolation.Spec)) map[string]result {
	t.Helper()
	s := n.spec(id, argAll)
	s.Program.Env = []string{fmt.Sprint(envHostPID, "=", bystander(t))}
	edit(s)
	e, out := n.run(s)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if last := lines[len(lines)-1]; last != finished {
		t.Fatalf("they ended early, with %+v: %s", e, out)
	}
	results := map[string]result{}
	for _, line := range lines[:len(lines)-1] {
		f := strings.SplitN(line, "\t", 3)
		i := slices.IndexFunc(Attacks, func(a Attack) bool { return len(f) == 3 && a.Name == f[1] })
		if i < 0 {
			t.Errorf("no attack says %q", line)
			continue
		}
		results[f[1]] = result{Attacks[i], f[0], f[2]}
	}
	if len(results) != len(Attacks) {
		t.Errorf("%d of %d attacks were run", len(results), len(Attacks))
	}
	for _, name := range slices.Sorted(maps.Keys(results)) {
		t.Logf("%-8s %-18s %s", results[name].verdict, name, results[name].how)
	}
	return results
}

// The table is one of attacks, each named once and explained.
func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, a := range Attacks {
		if a.Name == "" || a.Tries == "" || a.run == nil || len(a.refusals) == 0 || names[a.Name] {
			t.Errorf("%q is incomplete, or there twice", a.Name)
		}
		names[a.Name] = true
	}
	t.Logf("%d attacks", len(Attacks))
}

// A file that root inside writes is not root's outside.
func TestOwnerOutside(t *testing.T) {
	n := newNode(t)
	s := n.spec("writer", argSay, "touch", "/made")
	if err := n.begin(s); err != nil {
		t.Fatal(err)
	}
	n.end(s.ID)
	list, _ := filepath.Glob(filepath.Join(n.dir, "state/tasks/writer/*/made"))
	if len(list) == 0 {
		t.Fatal("the file is nowhere")
	}
	if uid := owner(t, list[0]); uid < 100_000 {
		t.Errorf("%s belongs to %d", list[0], uid)
	}
}

// Mounts made inside are not seen outside, and mounts made outside after the
// start are not seen inside.
func TestMountsStayInside(t *testing.T) {
	n := newNode(t)
	at := filepath.Join(layer, "mnt")
	s := n.spec("mounter", argSay, "hold")
	s.Program.Capabilities = []string{"SYS_ADMIN"}
	if err := n.begin(s); err != nil {
		t.Fatal(err)
	}
	defer n.kill(s.ID)
	n.line(s, "held <nil>")
	if b, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(b), "hostile-mount") {
		t.Error("a mount of the container is seen outside")
	}
	mountTmpfs(t, at)
	inside := fmt.Sprintf("/proc/%d/mountinfo", n.find(s.ID).PID)
	b, err := os.ReadFile(inside)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "hostile-outside") {
		t.Error("a mount outside is seen inside")
	}
	if !strings.Contains(string(b), "hostile-mount") {
		t.Error("the container's own mount is not there: the test proves nothing")
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " shared:") {
			t.Errorf("mount events go out by %s", line)
		}
	}
}
