package runc_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// counter prints numbers without a gap until it is told to end.
const counter = `trap 'echo end; exit 9' TERM; i=0; while :; do echo $i; i=$((i+1)); busybox usleep 500; done`

func gapless(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for i, line := range lines[:len(lines)-1] {
		if line != fmt.Sprint(i) {
			t.Fatalf("line %d of %d is %q", i, len(lines), line)
		}
	}
	if last := lines[len(lines)-1]; last != "end" {
		t.Errorf("the last line is %q", last)
	}
}

// Another process that opens the state folder finds everything as it was.
func TestAgentRestart(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh(counter)...)
	n.begin(s)
	n.line(s, "3")
	ended := n.spec("b", sh("exit 6")...)
	n.begin(ended)
	n.end("b")
	before := n.find("a")

	n.open()
	if got := n.find("a"); !reflect.DeepEqual(got, before) {
		t.Errorf("%+v, before %+v", got, before)
	}
	if e := n.end("b"); e.Code != 6 || !e.Known {
		t.Errorf("%+v", e)
	}
	n.Signal(n.ctx, "a", 15, false)
	if e := n.end("a"); e.Code != 9 {
		t.Errorf("%+v", e)
	}
	gapless(t, n.output(s, logfile.Stdout))
}

// A keeper that is killed takes no container with it, and the next one knows
// how they ended.
func TestKeeperKilled(t *testing.T) {
	n := newNode(t)
	run := n.spec("run", sh(counter)...)
	n.begin(run)
	n.line(run, "3")
	created := n.spec("created", "/bin/busybox", "echo", "late")
	if err := n.Create(n.ctx, created); err != nil {
		t.Fatal(err)
	}
	stopped := n.spec("stopped", sh("exit 6")...)
	n.begin(stopped)
	n.end("stopped")
	meanwhile := n.spec("meanwhile", sh("echo up; while [ ! -e /tmp/go ]; do busybox usleep 1000; done; exit 5")...)
	n.begin(meanwhile)
	n.line(meanwhile, "up")
	hog := n.spec("hog", sh("echo up; trap 'exec busybox tail /dev/zero' USR1; while :; do busybox usleep 1000; done")...)
	hog.Limits.Memory = 16 << 20
	n.begin(hog)
	n.line(hog, "up")
	pid, m := n.find("run").PID, int(n.find("meanwhile").PID)

	if err := syscall.Kill(n.Info().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range n.exits { // closes when the keeper is gone
	}
	if _, err := n.List(n.ctx); sdk.KindOf(err) != sdk.Unavailable {
		t.Errorf("without a keeper: %v", err)
	}
	// This one ends while nobody looks.
	if err := syscall.Kill(m, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	n.until("its end", func() bool { return !alive(int32(m)) && syscall.Kill(m, 0) != nil })

	n.open()
	if c := n.find("run"); c.State != isolation.Running || c.PID != pid {
		t.Errorf("run: %+v", c)
	}
	if e := n.end("stopped"); e.Code != 6 || !e.Known {
		t.Errorf("stopped: %+v", e)
	}
	if e := n.end("meanwhile"); e.Known {
		t.Errorf("meanwhile: %+v, nobody can know", e)
	}
	if c := n.find("created"); c.State != isolation.Created {
		t.Errorf("created: %+v", c)
	}
	if err := n.Start(n.ctx, "created"); err != nil {
		t.Error(err)
	}
	if e := n.end("created"); e.Code != 0 || !e.Known || n.output(created, logfile.Stdout) != "late\n" {
		t.Errorf("created: %+v %q", e, n.output(created, logfile.Stdout))
	}
	n.Signal(n.ctx, "hog", int(syscall.SIGUSR1), false)
	if e := n.end("hog"); !e.OOM || !e.Known || e.Code != 137 {
		t.Errorf("hog: %+v", e)
	}
	n.Signal(n.ctx, "run", 15, false)
	if e := n.end("run"); e.Code != 9 || !e.Known {
		t.Errorf("run: %+v", e)
	}
	gapless(t, n.output(run, logfile.Stdout))
}

// A keeper of another build takes over without a line lost.
func TestKeeperReplaced(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh(counter)...)
	n.begin(s)
	n.line(s, "3")
	half := n.spec("half", sh("trap 'echo end; exit 9' TERM; busybox printf begun; echo up >&2; while :; do busybox usleep 500; done")...)
	n.begin(half)
	n.until("half a line", func() bool { return n.output(half, logfile.Stderr) == "up\n" })
	old := n.Info()
	// Bytes after the end of an ELF file mean nothing to the kernel.
	n.cfg.Keeper = append(bytes.Clone(keeperELF), 0)
	n.open()
	if now := n.Info(); now.PID == old.PID || now.Build == old.Build {
		t.Errorf("keeper %+v, before %+v", now, old)
	}
	for _, id := range []sdk.TaskID{"a", "half"} {
		n.Signal(n.ctx, id, 15, false)
		if e := n.end(id); e.Code != 9 || !e.Known {
			t.Errorf("%s: %+v", id, e)
		}
	}
	gapless(t, n.output(s, logfile.Stdout))
	if got := n.output(half, logfile.Stdout); got != "begunend\n" {
		t.Errorf("half a line became %q", got)
	}
}

// When the process that is not to be outlived is killed, nothing stays.
func TestDieWith(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	if err := os.WriteFile(filepath.Join(dir, "keeper"), keeperELF, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "DRUPE_TEST_MASTER="+dir, "DRUPE_TEST_LAYER="+layer)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 512)
	k, _ := out.Read(said)
	if got := strings.TrimSpace(string(said[:k])); got != "up" {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("master: %s", got)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	n := &node{t: t, ctx: ctx, cfg: runc.Config{StateDir: state, Keeper: keeperELF}}
	n.open()
	c := n.find("a")
	if c.State != isolation.Running || !alive(c.PID) {
		t.Errorf("%+v", c)
	}
	cmd.Process.Kill()
	cmd.Wait()
	for range n.exits { // closes when the keeper is gone
	}
	n.until("the keeper's end", func() bool { return len(processesWith(state)) == 0 })
	if alive(c.PID) {
		t.Errorf("process %d lives on", c.PID)
	}
	nothingLeft(t, state)
}

// Keepers of one machine know nothing of each other.
func TestTwoNodes(t *testing.T) {
	a, b := newNode(t), newNode(t)
	for _, n := range []*node{a, b} {
		s := n.spec("same", sh("echo up; busybox sleep 100")...)
		n.begin(s)
		n.line(s, "up")
	}
	if err := a.Shutdown(a.ctx); err != nil {
		t.Fatal(err)
	}
	if c := b.find("same"); c.State != isolation.Running || !alive(c.PID) {
		t.Errorf("%+v", c)
	}
	a.open() // the clean-up wants a keeper to shut down
}

func TestOpenRefuses(t *testing.T) {
	for name, cfg := range map[string]runc.Config{
		"relative path": {StateDir: "state", Keeper: keeperELF},
		"no keeper":     {StateDir: t.TempDir()},
	} {
		if _, err := runc.Open(context.Background(), cfg); sdk.KindOf(err) == "" || sdk.KindOf(err) == sdk.Internal {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	if _, err := runc.Open(context.Background(), runc.Config{StateDir: dir, Keeper: []byte("no program")}); sdk.KindOf(err) != sdk.Unavailable {
		t.Errorf("what is no program: %v", err)
	}
}
