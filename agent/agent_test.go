package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
	"github.com/drupe-os/drupe/sdk/wire"
)

func TestLife(t *testing.T) {
	r := newRig(t)
	if h := r.start().hello; h.Name != "n1" || h.Protocol != sdk.AgentProtocol || len(h.Tasks) != 0 || h.Machine.Hostname != "h" {
		t.Fatalf("hello %+v", h)
	}
	r.desire(true, assignment("hello.1", func(as *sdk.Assignment) {
		as.Ports = []sdk.PortBinding{{Name: "http-main", Port: freePort(t)}}
		as.Template.Env = []sdk.EnvVar{{Name: "A", Value: "2"}}
	}))
	r.until("hello.1", sdk.Starting)
	st := r.until("hello.1", sdk.Running)
	if st.PID == 0 || st.Started == 0 || st.Health != sdk.Healthy {
		t.Errorf("running: %+v", st)
	}
	spec, _ := r.runtime.Spec("hello.1")
	for _, want := range []string{"A=2", "HOST=127.0.0.1", "DRUPE_TASK=hello.1", "DRUPE_NODE=n1", "DRUPE_DOCUMENT=service/hello"} {
		if !slices.Contains(spec.Program.Env, want) {
			t.Errorf("environment lacks %s: %v", want, spec.Program.Env)
		}
	}
	if spec.Limits.Memory != 64<<20 || spec.Limits.CPUWeight != 500 || spec.Program.Args[0] != "/bin/hello" {
		t.Errorf("spec %+v", spec)
	}
	r.runtime.Exit("hello.1", 0)
	st = r.until("hello.1", sdk.Finished)
	if st.Reason != sdk.ReasonExited || st.Ended == 0 || st.PID != 0 {
		t.Errorf("finished: %+v", st)
	}
	r.eventually("its container is removed", func() bool { return slices.Contains(r.runtime.Calls(), "remove hello.1") })
	r.send(sdk.Desired{Forget: []sdk.TaskID{"hello.1"}})
	r.eventually("it is forgotten", func() bool { return r.known() == 0 })
}

// known counts the agent's tasks.
func (r *rig) known() int {
	n := make(chan int)
	r.agent.post(func() { n <- len(r.agent.tasks) })
	return <-n
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestExits(t *testing.T) {
	tests := []struct {
		exit   isolation.Exit
		state  sdk.TaskState
		reason sdk.Reason
		says   string
	}{
		{isolation.Exit{Known: true, Code: 3}, sdk.Failed, sdk.ReasonExited, "exited with code 3"},
		{isolation.Exit{Known: true, Code: 139}, sdk.Failed, sdk.ReasonSignaled, "signal 11 (SIGSEGV)"},
		{isolation.Exit{Known: true, Code: 137, OOM: true}, sdk.Failed, sdk.ReasonOOM, "reached its memory limit of 64Mi"},
		{isolation.Exit{Known: true, Code: 1, PidsHit: true}, sdk.Failed, sdk.ReasonPidsLimit, "limit of 1024"},
		{isolation.Exit{}, sdk.Failed, sdk.ReasonExitUnknown, "nobody could see"},
	}
	r := newRig(t)
	r.start()
	for i, tt := range tests {
		id := sdk.TaskID(fmt.Sprint("t.", i))
		r.desire(false, assignment(id))
		r.until(id, sdk.Running)
		r.runtime.ExitAs(id, tt.exit)
		if st := r.until(id, tt.state); st.Reason != tt.reason || !strings.Contains(st.Message, tt.says) || st.ExitCode != tt.exit.Code {
			t.Errorf("%+v: %+v", tt.exit, st)
		}
	}
}

func TestFailures(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := newRig(t)
	r.images.resolve = func(_ context.Context, ref string) (*image.Image, error) {
		if strings.HasPrefix(ref, "oci:/missing") {
			return nil, &image.Error{Reason: sdk.ReasonImageNotFound, Fault: sdk.Errorf(sdk.NotFound, "image", "no such folder")}
		}
		if strings.HasPrefix(ref, "oci:/empty") {
			return &image.Image{Digest: "sha256:22"}, nil
		}
		return (&images{}).Resolve(t.Context(), ref)
	}
	r.runtime.FailStart = func(id sdk.TaskID) error {
		if strings.HasPrefix(string(id), "nocmd") {
			return &isolation.Error{Reason: sdk.ReasonCommandNotFound, Err: fmt.Errorf("/bin/nope: not found")}
		}
		return nil
	}
	r.runtime.FailCreate = func(s *isolation.Spec) error {
		if strings.HasPrefix(string(s.ID), "nocreate") {
			return &isolation.Error{Reason: sdk.ReasonDiskFull, Err: fmt.Errorf("no space")}
		}
		return nil
	}
	r.start()
	withImage := func(ref string) func(*sdk.Assignment) {
		return func(as *sdk.Assignment) { as.Template.Run.Container.Image = ref }
	}
	for _, tt := range []struct {
		as     sdk.Assignment
		state  sdk.TaskState
		reason sdk.Reason
		says   string
	}{
		{assignment("noimage.1", withImage("oci:/missing")), sdk.Failed, sdk.ReasonImageNotFound, "no such folder"},
		{assignment("nocmd.1"), sdk.Failed, sdk.ReasonCommandNotFound, "/bin/nope"},
		{assignment("nocreate.1"), sdk.Failed, sdk.ReasonDiskFull, "no space"},
		{assignment("empty.1", withImage("oci:/empty")), sdk.Error, sdk.ReasonInvalidTemplate, "no command"},
		{assignment("norun.1", func(as *sdk.Assignment) { as.Template.Run.Container = nil }), sdk.Error, sdk.ReasonInvalidTemplate, "what to run"},
		{assignment("../evil"), sdk.Error, sdk.ReasonInvalidTemplate, "cannot name a folder"},
		{assignment("port.1", func(as *sdk.Assignment) {
			as.Ports = []sdk.PortBinding{{Name: "http", Port: uint16(taken.Addr().(*net.TCPAddr).Port)}}
		}), sdk.Failed, sdk.ReasonPortTaken, "is taken"},
	} {
		r.desire(false, tt.as)
		st := r.until(tt.as.Task, tt.state)
		if st.Reason != tt.reason || !strings.Contains(st.Message, tt.says) {
			t.Errorf("%s: %+v", tt.as.Task, st)
		}
	}
	r.eventually("what was created is removed", func() bool {
		list, _ := r.runtime.List(t.Context())
		return len(list) == 0
	})
}

func TestStop(t *testing.T) {
	r := newRig(t)
	r.start()
	r.desire(true, assignment("a"))
	r.until("a", sdk.Running)
	r.desire(false, stopOf("a", 0))
	r.until("a", sdk.Killing)
	st := r.until("a", sdk.Killed)
	if st.Reason != sdk.ReasonKilledByUser || !strings.Contains(st.Message, "SIGTERM") || st.ExitCode != 143 {
		t.Errorf("%+v", st)
	}
}

func TestStopOfOneThatIgnoresSIGTERM(t *testing.T) {
	r := newRig(t)
	r.runtime.Deaf = true
	r.start()
	r.desire(true, assignment("a"))
	r.until("a", sdk.Running)
	r.desire(false, stopOf("a", 50))
	st := r.until("a", sdk.Killed)
	if !strings.Contains(st.Message, "ignored SIGTERM") || st.ExitCode != 137 || st.Ended.Sub(st.Started) < 50 {
		t.Errorf("%+v", st)
	}
}

func TestStopWhileFetching(t *testing.T) {
	r := newRig(t)
	fetching := make(chan struct{})
	r.images.resolve = func(ctx context.Context, _ string) (*image.Image, error) {
		close(fetching)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	r.start()
	r.desire(true, assignment("a"))
	<-fetching
	r.desire(false, stopOf("a", 0))
	if st := r.until("a", sdk.Killed); st.Reason != sdk.ReasonKilledByUser {
		t.Errorf("%+v", st)
	}
	if calls := r.runtime.Calls(); len(calls) != 0 {
		t.Errorf("runtime was called: %v", calls)
	}
}

func TestUnhealthy(t *testing.T) {
	r := newRig(t)
	r.start()
	port := freePort(t)
	r.desire(true, assignment("a", func(as *sdk.Assignment) {
		as.Ports = []sdk.PortBinding{{Name: "http", Port: port}}
		as.Template.Checks = []sdk.Check{{Name: "up", TCP: &sdk.TCPCheck{Port: "http"}, Interval: 20, Delay: 10_000, Failures: 2}}
	}))
	if st := r.until("a", sdk.Running); st.Health != sdk.HealthUnknown {
		t.Errorf("%+v", st)
	}
	// The task comes up, is healthy, and breaks.
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	r.wait("a", func(st sdk.TaskStatus) bool { return st.Health == sdk.Healthy })
	l.Close()
	st := r.until("a", sdk.Failed)
	if st.Reason != sdk.ReasonUnhealthy || !strings.Contains(st.Message, "check up failed") {
		t.Errorf("%+v", st)
	}
}

// TestRestart kills the agent at rest and starts it again: tasks that ran still
// run, ends that came meanwhile are told with their codes, nothing runs twice.
func TestRestart(t *testing.T) {
	r := newRig(t)
	r.start()
	r.desire(true, assignment("stays"), assignment("ends"), assignment("stops"))
	for _, id := range []sdk.TaskID{"stays", "ends", "stops"} {
		r.until(id, sdk.Running)
	}
	r.stop()
	r.runtime.Exit("ends", 7)
	hello := r.start().hello
	if len(hello.Tasks) != 3 {
		t.Fatalf("hello %+v", hello.Tasks)
	}
	// The servers may hear of the end by the Hello or right after it.
	r.desire(true, assignment("stays"), assignment("ends"), stopOf("stops", 0))
	told := slices.ContainsFunc(hello.Tasks, func(st sdk.TaskStatus) bool {
		return st.Task == "ends" && st.State == sdk.Failed && st.ExitCode == 7
	})
	if !told {
		if st := r.until("ends", sdk.Failed); st.ExitCode != 7 {
			t.Errorf("%+v", st)
		}
	}
	r.until("stops", sdk.Killed)
	n := 0
	for _, c := range r.runtime.Calls() {
		if strings.HasPrefix(c, "start") {
			n++
		}
	}
	if n != 3 {
		t.Errorf("%d starts: %v", n, r.runtime.Calls())
	}
	if list, _ := r.runtime.List(t.Context()); !slices.ContainsFunc(list, func(c isolation.Container) bool { return c.ID == "stays" && c.State == isolation.Running }) {
		t.Errorf("stays does not run: %+v", list)
	}
}

// TestLostCheckpoint: with the records gone, running tasks are taken up from
// the runtime, and one that may have run already is not run again.
func TestLostCheckpoint(t *testing.T) {
	r := newRig(t)
	r.start()
	r.desire(true, assignment("runs"), assignment("ended"))
	r.until("runs", sdk.Running)
	r.until("ended", sdk.Running)
	r.runtime.Exit("ended", 0)
	r.until("ended", sdk.Finished)
	r.eventually("removed", func() bool { return slices.Contains(r.runtime.Calls(), "remove ended") })
	r.stop()
	if err := os.WriteFile(filepath.Join(r.dir, "checkpoint.db"), make([]byte, 32768), 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.desire(true, assignment("runs"), assignment("ended"))
	if st := r.until("ended", sdk.Failed); st.Reason != sdk.ReasonCheckpointLost {
		t.Errorf("%+v", st)
	}
	if h := r.srv.hello; len(h.Tasks) != 1 || h.Tasks[0].Task != "runs" {
		t.Errorf("hello %+v", h.Tasks)
	}
	// Later ones are new without doubt.
	r.desire(false, assignment("new"))
	r.until("new", sdk.Running)
}

// TestUnknownIsLeftAlone: a task the servers do not mention runs on.
func TestUnknownIsLeftAlone(t *testing.T) {
	r := newRig(t)
	if err := r.runtime.Create(t.Context(), &isolation.Spec{ID: "stranger"}); err != nil {
		t.Fatal(err)
	}
	if err := r.runtime.Start(t.Context(), "stranger"); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.desire(true, assignment("a"))
	r.until("a", sdk.Running)
	if h := r.srv.hello; len(h.Tasks) != 1 || h.Tasks[0].Task != "stranger" {
		t.Errorf("hello %+v", h.Tasks)
	}
	r.desire(true)
	r.desire(false, assignment("b"))
	r.until("b", sdk.Running)
	for _, c := range r.runtime.Calls() {
		if strings.HasPrefix(c, "signal") || strings.HasPrefix(c, "remove") {
			t.Errorf("%v", r.runtime.Calls())
		}
	}
	r.runtime.Exit("stranger", 5)
	if st := r.until("stranger", sdk.Failed); st.ExitCode != 5 {
		t.Errorf("%+v", st)
	}
}

// TestGivenUp: a task that the servers hold to be over, with its node perhaps,
// does not run on when the node is back.
func TestGivenUp(t *testing.T) {
	r := newRig(t)
	r.start()
	r.desire(true, assignment("a"))
	r.until("a", sdk.Running)
	r.send(sdk.Desired{Full: true, Forget: []sdk.TaskID{"a"}})
	if st := r.until("a", sdk.Killed); st.Reason != sdk.ReasonNodeLost {
		t.Errorf("%+v", st)
	}
	r.eventually("it is forgotten", func() bool { return r.known() == 0 })
}

// TestDiskFull: with no space for the checkpoint tasks still end and are told,
// but nothing is let go of that only the runtime knows then; with space again
// the node catches up.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a tmpfs")
	}
	r := newRig(t)
	r.dir = t.TempDir()
	if err := syscall.Mount("tmpfs", r.dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	dir := r.dir
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	r.start()
	r.desire(true, assignment("ends"), assignment("stops"))
	r.until("ends", sdk.Running)
	r.until("stops", sdk.Running)
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	f.Close()
	// A record too large for the pages the file has already.
	big := assignment("big", func(as *sdk.Assignment) {
		as.Template.Env = []sdk.EnvVar{{Name: "X", Value: strings.Repeat("x", 300<<10)}}
	})
	r.runtime.Exit("ends", 9)
	r.desire(false, big, stopOf("stops", 0))
	if st := r.until("ends", sdk.Failed); st.ExitCode != 9 {
		t.Errorf("%+v", st)
	}
	r.until("stops", sdk.Killed)
	if slices.Contains(r.runtime.Calls(), "remove stops") {
		t.Error("its exit was let go of before it was saved")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.eventually("both are removed", func() bool {
		calls := r.runtime.Calls()
		return slices.Contains(calls, "remove ends") && slices.Contains(calls, "remove stops")
	})
	r.stop()
}

// TestKeeperGoes: while the runtime is away nothing fails and nothing is said to
// have ended; afterwards things go on.
func TestKeeperGoes(t *testing.T) {
	r := newRig(t)
	r.start()
	r.desire(true, assignment("a"))
	r.until("a", sdk.Running)
	r.runtime.Crash()
	r.desire(false, assignment("b"))
	r.until("b", sdk.Starting)
	r.runtime.Recover()
	r.until("b", sdk.Running)
	for _, st := range r.srv.said["a"] {
		if st.State > sdk.Running {
			t.Errorf("a was said to be %+v", st)
		}
	}
}

func TestReconnectTellsAll(t *testing.T) {
	r := newRig(t)
	r.start()
	r.desire(true, assignment("a"))
	r.until("a", sdk.Running)
	r.srv.conn.Close()
	h := r.session().hello
	if len(h.Tasks) != 1 || h.Tasks[0].State != sdk.Running {
		t.Fatalf("hello %+v", h.Tasks)
	}
	r.desire(true, stopOf("a", 0))
	r.until("a", sdk.Killed)
}

func TestLogsOverTheStream(t *testing.T) {
	r := newRig(t)
	r.start()
	r.desire(true, assignment("a"))
	r.until("a", sdk.Running)
	w := logfile.NewWriter(filepath.Join(r.dir, "tasks", "a", "log"), logfile.Stdout, sdk.LogLimits{}, now)
	fmt.Fprintln(w, "one")
	ask := func(q sdk.LogRequest) {
		if err := wire.Write(r.srv.conn, wire.FrameLogRequest, &q); err != nil {
			t.Fatal(err)
		}
	}
	next := func() sdk.LogChunk {
		select {
		case c := <-r.srv.logs:
			return c
		case <-time.After(20 * time.Second):
			t.Fatal("no chunk")
			return sdk.LogChunk{}
		}
	}
	ask(sdk.LogRequest{Call: 1, Task: "a", Tail: -1, Follow: true})
	if c := next(); string(c.Lines[0].Text) != "one" {
		t.Fatalf("%+v", c)
	}
	fmt.Fprintln(w, "two")
	if c := next(); string(c.Lines[0].Text) != "two" {
		t.Fatalf("%+v", c)
	}
	r.runtime.Exit("a", 0)
	if c := next(); !c.EOF || c.Error != "" {
		t.Fatalf("%+v", c)
	}
	w.Close()
	for _, id := range []sdk.TaskID{"none", "../../etc"} {
		ask(sdk.LogRequest{Call: 2, Task: id})
		if c := next(); !c.EOF || c.Error == "" {
			t.Fatalf("%+v", c)
		}
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{{}, {Dir: t.TempDir()}, {Dir: t.TempDir(), Runtime: newRig(t).runtime}} {
		if _, err := New(cfg); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%v", err)
		}
	}
}
