package runc_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// warm returns a specification that may be started from a prepared container.
func (n *node) warm(id string, args ...string) *isolation.Spec {
	s := n.spec(id, args...)
	s.Warm = true
	return s
}

// prepared waits until a container is ready and returns its first process.
func (n *node) prepared() (pid int) {
	n.t.Helper()
	n.until("a prepared container", func() bool {
		records, _ := filepath.Glob(filepath.Join(n.cfg.StateDir, "tasks", ".warm-*", "container.json"))
		for _, file := range records {
			var rec struct{ PID int }
			b, _ := os.ReadFile(file)
			if json.Unmarshal(b, &rec) != nil || rec.PID == 0 {
				continue
			}
			if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", rec.PID)); strings.Contains(string(line), "\x00stub") {
				pid = rec.PID
				return true
			}
		}
		return false
	})
	return pid
}

// ready makes n have a prepared container for tasks like that of warm.
func (n *node) ready() int {
	n.t.Helper()
	for i := range 2 {
		if e, _ := n.run(n.warm(fmt.Sprint("first-", i), sh("exit 0")...)); e.Code != 0 {
			n.t.Fatalf("%+v", e)
		}
	}
	return n.prepared()
}

// A task that starts in a prepared container has all of its own: program,
// environment, name, user, output, limits, exit code.
func TestWarm(t *testing.T) {
	n := newNode(t)
	pid := n.ready()
	s := n.warm("mine", sh(`echo $A; busybox hostname; busybox id -u; echo $0; ls /proc/self/fd | busybox wc -l; trap 'exit 7' TERM; while :; do busybox sleep 0.01; done`)...)
	s.Program.Env = append(s.Program.Env, "A=x y")
	n.begin(s)
	if got := n.find("mine"); int(got.PID) != pid {
		t.Errorf("process %d runs it, not the prepared %d", got.PID, pid)
	}
	n.until("output", func() bool { return strings.Count(n.output(s, logfile.Stdout), "\n") == 5 })
	// The five: its three streams, the folder that ls reads, and nothing of the
	// keeper's.
	if got, want := n.output(s, logfile.Stdout), "x y\nmine\n0\n/bin/sh\n4\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if u, err := n.Usage(n.ctx, "mine"); err != nil || len(u) != 1 || u[0].Mem == 0 {
		t.Errorf("usage %+v, %v", u, err)
	}
	n.Signal(n.ctx, "mine", 15, false)
	if e := n.end("mine"); e.Code != 7 || !e.Known {
		t.Errorf("%+v", e)
	}
	if err := n.Remove(n.ctx, "mine"); err != nil {
		t.Error(err)
	}
}

// A command that is not there is told as of any other container.
func TestWarmCommandNotFound(t *testing.T) {
	n := newNode(t)
	n.ready()
	s := n.warm("none", "/bin/none")
	if err := n.Create(n.ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(n.ctx, s.ID); isolation.ReasonOf(err) != sdk.ReasonCommandNotFound {
		t.Errorf("%v", err)
	}
	n.end(s.ID)
}

// What differs from the prepared one is made anew.
func TestWarmOnlyForEqual(t *testing.T) {
	n := newNode(t)
	pid := n.ready()
	s := n.warm("other", sh("busybox sleep 100")...)
	s.Limits.Memory = 32 << 20
	n.begin(s)
	if got := n.find("other"); int(got.PID) == pid {
		t.Error("it runs with another task's limits")
	}
}

// The keeper goes down with a prepared container, and with one that was taken
// and one that was taken but not begun: the running one stays, and of the
// others nothing does.
func TestWarmKeeperCrash(t *testing.T) {
	n := newNode(t)
	n.ready()
	s := n.warm("runs", sh("trap 'exit 9' TERM; echo up; while :; do busybox sleep 0.01; done")...)
	n.begin(s)
	n.line(s, "up")
	n.prepared()
	waits := n.warm("waits", sh("exit 0")...)
	if err := n.Create(n.ctx, waits); err != nil {
		t.Fatal(err)
	}
	spare := n.prepared()
	if err := syscall.Kill(n.Info().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.open()
	n.until("the spare's end", func() bool { return !alive(int32(spare)) })
	list, err := n.List(n.ctx)
	if err != nil || len(list) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, c := range list {
		if c.ID == "waits" {
			t.Errorf("a container that nobody can start is kept: %+v", c)
		}
	}
	n.Signal(n.ctx, "runs", 15, false)
	if e := n.end("runs"); e.Code != 9 || !e.Known {
		t.Errorf("%+v", e)
	}
	if left, _ := filepath.Glob(filepath.Join(n.cfg.StateDir, "tasks", ".warm-*")); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}
