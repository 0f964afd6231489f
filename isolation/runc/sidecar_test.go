package runc_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// sidecar is one more program of a task.
func sidecar(name, script string) isolation.Program {
	return isolation.Program{Name: name, Layers: []string{layer}, Args: sh(script), Env: []string{"PATH=/bin"}}
}

// sidecarOutput is what a sidecar printed to stdout.
func (n *node) sidecarOutput(s *isolation.Spec, name string) string {
	n.t.Helper()
	return n.output(&isolation.Spec{LogDir: filepath.Join(s.LogDir, name)}, logfile.Stdout)
}

const forever = "while :; do busybox sleep 0.05; done"

// A task's containers share network, IPC and host name, and nothing else.
func TestSidecarShares(t *testing.T) {
	n := newNode(t)
	links := "for k in net ipc uts user pid mnt cgroup; do echo $k $(busybox readlink /proc/self/ns/$k); done; busybox hostname; echo pid $$; busybox test -e /made && echo leaked; echo seen"
	s := n.spec("pod", sh("echo x > /made; "+links+"; busybox sleep 0.3; echo end")...)
	s.PrivateNetwork = true
	s.Sidecars = []isolation.Program{sidecar("a", "trap 'echo bye; exit 0' TERM; "+links+";"+forever), sidecar("b", links)}
	e, own := n.run(s)
	if e.Code != 0 || !e.Known || e.Sidecar != "" {
		t.Fatalf("%+v", e)
	}
	a, b := n.sidecarOutput(s, "a"), n.sidecarOutput(s, "b")
	of := func(out, kind string) string {
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, kind+" ") {
				return line
			}
		}
		return "none"
	}
	for _, kind := range []string{"net", "ipc", "uts", "user"} {
		if of(a, kind) != of(own, kind) || of(b, kind) != of(own, kind) || of(own, kind) == "none" {
			t.Errorf("%s: %q %q %q, want one", kind, of(own, kind), of(a, kind), of(b, kind))
		}
	}
	for _, kind := range []string{"mnt", "cgroup", "pid"} {
		if of(a, kind) == of(own, kind) || of(a, kind) == of(b, kind) {
			t.Errorf("%s is shared: %q %q", kind, of(a, kind), of(own, kind))
		}
	}
	for _, out := range []string{a, b} {
		if !strings.Contains(out, "\npod\npid 1\nseen\n") {
			t.Errorf("a sidecar printed %q", out)
		}
	}
	if !strings.HasSuffix(a, "bye\n") {
		t.Errorf("not ended politely: %q", a)
	}
}

// A sidecar that fails ends its task, with its name; its own limits hold.
func TestSidecarFails(t *testing.T) {
	n := newNode(t)
	tests := []struct {
		name string
		side isolation.Program
		want isolation.Exit
	}{
		{"code", sidecar("side", "exit 7"), isolation.Exit{Code: 7, Known: true, Sidecar: "side"}},
		{"memory", func() isolation.Program {
			p := sidecar("side", "exec busybox tail /dev/zero")
			p.Limits.Memory = 16 << 20
			return p
		}(), isolation.Exit{Code: 137, Known: true, OOM: true, Sidecar: "side"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := n.spec(tt.name, sh(forever)...)
			s.Sidecars = []isolation.Program{sidecar("other", forever), tt.side}
			e, _ := n.run(s)
			got := *e
			got.Peak, got.Ended = 0, 0
			if got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
	// The task's limit holds them all together, and tells of who met it.
	s := n.spec("together", sh(forever)...)
	s.Limits.Memory = 24 << 20
	s.Sidecars = []isolation.Program{sidecar("side", "exec busybox tail /dev/zero")}
	if e, _ := n.run(s); !e.OOM || e.Sidecar != "side" {
		t.Errorf("%+v", e)
	}
	s = n.spec("names", sh("true")...)
	s.Sidecars = []isolation.Program{sidecar("../x", "true")}
	if err := n.Create(n.ctx, s); isolation.ReasonOf(err) != sdk.ReasonInvalidTemplate {
		t.Errorf("a name that climbs: %v", err)
	}
	s.Sidecars = []isolation.Program{sidecar("x", "true"), sidecar("y", "true")}
	s.Sidecars[1].Args = []string{"/bin/nothing"}
	if err := n.Create(n.ctx, s); isolation.ReasonOf(err) != sdk.ReasonCommandNotFound {
		t.Errorf("a sidecar without a program: %v", err)
	}
}

// The next keeper finds all containers of a task: who has ended, and who runs.
func TestSidecarsAdopted(t *testing.T) {
	n := newNode(t)
	s := n.spec("pod", sh("trap 'exit 5' TERM; echo up; "+forever)...)
	s.Sidecars = []isolation.Program{sidecar("done", "echo once"), sidecar("stays", "trap 'echo bye; exit 0' TERM; echo up; "+forever)}
	bad := n.spec("bad", sh("echo up; "+forever)...)
	bad.Sidecars = []isolation.Program{sidecar("side", "echo up; "+forever)}
	n.begin(s)
	n.begin(bad)
	n.line(s, "up")
	n.line(bad, "up")
	n.until("sidecars", func() bool {
		return n.sidecarOutput(s, "stays") == "up\n" && n.sidecarOutput(s, "done") == "once\n" && n.sidecarOutput(bad, "side") == "up\n"
	})
	side := sidecarPID(t, n, "bad", "side")
	if err := syscall.Kill(n.Info().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// While nobody looks, a sidecar of the other task is lost.
	syscall.Kill(side, syscall.SIGKILL)
	n.until("its end", func() bool { return !alive(int32(side)) })
	n.open()
	if e := n.end("bad"); e.Sidecar != "side" || (e.Known && e.Code != 137) {
		t.Errorf("%+v", e)
	}
	if err := n.Signal(n.ctx, "pod", 15, false); err != nil {
		t.Fatal(err)
	}
	if e := n.end("pod"); e.Code != 5 || !e.Known || e.Sidecar != "" {
		t.Errorf("%+v", e)
	}
	if got := n.sidecarOutput(s, "stays"); got != "up\nbye\n" {
		t.Errorf("sidecar printed %q", got)
	}
	for _, id := range []sdk.TaskID{"pod", "bad"} {
		if err := n.Remove(n.ctx, id); err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(n.cfg.StateDir, "runc")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// sidecarPID finds the first process of a sidecar.
func sidecarPID(t *testing.T, n *node, id, name string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.cfg.StateDir, "runc", "."+name+"."+id, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		PID int `json:"init_process_pid"`
	}
	if err := json.Unmarshal(b, &state); err != nil || state.PID == 0 {
		t.Fatalf("no process of %s: %v", name, err)
	}
	return state.PID
}
