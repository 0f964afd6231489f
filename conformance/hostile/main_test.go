package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

var (
	keeperELF []byte
	program   []byte // this package's, static
	layer     string // a root file system with it
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "skipped: containers need root")
		return 0
	}
	dir, err := os.MkdirTemp("", "drupe-hostile-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// prepare builds what the tests run, or takes it from where it was built: the
// machine of a test can be one without a compiler.
func prepare(dir string) (err error) {
	built := func(variable, name, pkg, cgo string, flags ...string) []byte {
		path := os.Getenv(variable)
		if path == "" && err == nil {
			path = filepath.Join(dir, name)
			build := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), pkg)...)
			build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
			if out, e := build.CombinedOutput(); e != nil {
				err = fmt.Errorf("%s: %w\n%s", pkg, e, out)
			}
		}
		if err != nil {
			return nil
		}
		b, e := os.ReadFile(path)
		err = e
		return b
	}
	keeperELF = built("DRUPE_TEST_KEEPER", "keeper", "github.com/drupe-os/drupe/cmd/drupe-keeper", "1",
		"-tags", "seccomp netgo osusergo", "-ldflags", "-s -w -linkmode external -extldflags -static")
	program = built("DRUPE_TEST_HOSTILE", "hostile", "github.com/drupe-os/drupe/conformance/hostile", "0", "-ldflags", "-s -w")
	if err != nil {
		return err
	}
	layer = filepath.Join(dir, "layer")
	return makeLayer(layer)
}

// makeLayer makes an image with the program, and with files of it that are
// meant to give whoever runs or reads them more than he has.
func makeLayer(dir string) error {
	for _, d := range []string{"bin", "etc", "secret", "mnt"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		return err
	}
	for name, mode := range map[string]fs.FileMode{"hostile": 0o755, "bin/setuid": 0o755 | fs.ModeSetuid, "bin/capable": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, name), program, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			return err
		}
	}
	if err := unix.Setxattr(filepath.Join(dir, "bin/capable"), "security.capability", capabilityOf(unix.CAP_SYS_ADMIN), 0); err != nil {
		return err
	}
	other := filepath.Join(dir, "secret/other")
	if err := os.WriteFile(other, []byte("a secret of another user\n"), 0o600); err != nil {
		return err
	}
	if err := os.Chown(other, 4711, 4711); err != nil {
		return err
	}
	return os.Chmod(filepath.Join(dir, "tmp"), 0o777)
}

// node is a keeper with its state folder.
type node struct {
	*runc.Client
	t     testing.TB
	ctx   context.Context
	dir   string
	exits <-chan sdk.TaskID
}

func newNode(t testing.TB, edit ...func(*runc.Config)) *node {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	n := &node{t: t, ctx: ctx, dir: t.TempDir()}
	cfg := runc.Config{StateDir: filepath.Join(n.dir, "state"), Keeper: keeperELF, DieWith: true}
	for _, e := range edit {
		e(&cfg)
	}
	var err error
	if n.Client, err = runc.Open(ctx, cfg); err == nil {
		n.exits, err = n.Exits(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(cfg.StateDir, "keeper.log"))
			t.Logf("keeper's log:\n%s", b)
		}
	})
	return n
}

func hostIDs(c *runc.Config) { c.NoUserNamespaces = true }

func (n *node) spec(id string, args ...string) *isolation.Spec {
	return &isolation.Spec{
		ID: sdk.TaskID(id), LogDir: filepath.Join(n.dir, "logs", id),
		Program: isolation.Program{Layers: []string{layer}, Args: append([]string{"/hostile"}, args...)},
		Limits:  isolation.Limits{CPUWeight: 100, Memory: 128 << 20},
	}
}

// begin creates and starts a container.
func (n *node) begin(s *isolation.Spec) error {
	n.t.Helper()
	if err := n.Create(n.ctx, s); err != nil {
		return err
	}
	return n.Start(n.ctx, s.ID)
}

// run runs a container to its end and returns that and what it printed.
func (n *node) run(s *isolation.Spec) (*isolation.Exit, string) {
	n.t.Helper()
	if err := n.begin(s); err != nil {
		n.t.Fatalf("%s: %v", s.ID, err)
	}
	e := n.end(s.ID)
	out := n.output(s)
	if err := n.Remove(n.ctx, s.ID); err != nil {
		n.t.Error(err)
	}
	return e, out
}

func (n *node) find(id sdk.TaskID) isolation.Container {
	n.t.Helper()
	list, err := n.List(n.ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, c := range list {
		if c.ID == id {
			return c
		}
	}
	n.t.Fatalf("%s is not there", id)
	panic("unreachable")
}

func (n *node) end(id sdk.TaskID) *isolation.Exit {
	n.t.Helper()
	for {
		if c := n.find(id); c.State == isolation.Stopped {
			return c.Exit
		}
		select {
		case _, ok := <-n.exits:
			if !ok {
				n.t.Fatalf("%s: the keeper went away", id)
			}
		case <-n.ctx.Done():
			n.t.Fatalf("%s does not stop: %v", id, n.ctx.Err())
		}
	}
}

func (n *node) output(s *isolation.Spec) string {
	n.t.Helper()
	r, err := logfile.Open(s.LogDir, logfile.Stdout, -1)
	if err != nil {
		return ""
	}
	defer r.Close()
	var b strings.Builder
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			n.t.Fatal(err)
		}
		b.Write(rec.Text)
		if rec.Kind != logfile.Partial {
			b.WriteByte('\n')
		}
	}
}

// line waits until the container has printed text.
func (n *node) line(s *isolation.Spec, text string) {
	n.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(n.output(s), text) {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			n.t.Fatalf("%s never printed %q", s.ID, text)
		}
	}
}

// kill ends a container and removes it.
func (n *node) kill(id sdk.TaskID) {
	n.t.Helper()
	if err := n.Signal(n.ctx, id, int(syscall.SIGKILL), false); err != nil && sdk.KindOf(err) != sdk.NotFound {
		n.t.Error(err)
	}
	n.end(id)
	if err := n.Remove(n.ctx, id); err != nil {
		n.t.Error(err)
	}
}

// bystander is a process of the machine that nothing may happen to.
func bystander(t testing.TB) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "read forever")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("the process outside is gone: %v", err)
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !exit.Exited() {
				t.Errorf("the process outside: %v", err)
			}
		}
	})
	return cmd.Process.Pid
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

func mountTmpfs(t *testing.T, at string) {
	t.Helper()
	if err := unix.Mount("hostile-outside", at, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func mountLines(t *testing.T, pid int32) []string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}
