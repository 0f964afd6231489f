package runc_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

var (
	keeperELF []byte
	layer     string // a root file system with busybox in it
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	if dir := os.Getenv("DRUPE_TEST_MASTER"); dir != "" {
		return masterMain(dir)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "skipped: containers need root")
		return 0
	}
	dir, err := os.MkdirTemp("", "drupe-isolation-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	keeper, err := buildKeeper(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if keeperELF, err = os.ReadFile(keeper); err == nil {
		layer = filepath.Join(dir, "layer")
		err = makeLayer(layer)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// buildKeeper builds the keeper, or says where it was built: the machine of a
// test can be one without a compiler.
func buildKeeper(dir string) (string, error) {
	if path := os.Getenv("DRUPE_TEST_KEEPER"); path != "" {
		return path, nil
	}
	keeper := filepath.Join(dir, "keeper")
	build := exec.Command("go", "build", "-tags", "seccomp netgo osusergo",
		"-ldflags", "-s -w -linkmode external -extldflags -static", "-o", keeper, "github.com/drupe-os/drupe/cmd/drupe-keeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("keeper: %w\n%s", err, out)
	}
	return keeper, nil
}

// patience is how many times as long as usual a test may take: more on an
// emulated machine.
func patience() time.Duration {
	if n, _ := strconv.Atoi(os.Getenv("DRUPE_TEST_PATIENCE")); n > 0 {
		return time.Duration(n)
	}
	return 1
}

func makeLayer(dir string) error {
	for _, d := range []string{"bin", "etc", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("busybox-static is needed: %w", err)
	}
	files := map[string][]byte{
		"bin/busybox": b,
		"etc/passwd":  []byte("root:x:0:0::/:/bin/sh\nweb:x:1000:100::/:/bin/sh\n"),
		"etc/group":   []byte("root:x:0:\nusers:x:100:\nextra:x:200:web\n"),
		"bin/text":    []byte("not a program\n"),
	}
	for name, b := range files {
		mode := fs.FileMode(0o644)
		if name == "bin/busybox" {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, mode); err != nil {
			return err
		}
	}
	return os.Symlink("busybox", filepath.Join(dir, "bin/sh"))
}

// node is a state folder with its client.
type node struct {
	*runc.Client
	t     testing.TB
	cfg   runc.Config
	logs  string
	exits <-chan sdk.TaskID
	ctx   context.Context
}

func newNode(t testing.TB, edit ...func(*runc.Config)) *node {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience()*2*time.Minute)
	n := &node{t: t, ctx: ctx, logs: t.TempDir(), cfg: runc.Config{StateDir: filepath.Join(t.TempDir(), "state"), Keeper: keeperELF, DieWith: true}}
	for _, e := range edit {
		e(&n.cfg)
	}
	n.open()
	t.Cleanup(func() {
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		nothingLeft(t, n.cfg.StateDir)
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(n.cfg.StateDir, "keeper.log"))
			t.Logf("keeper's log:\n%s", b)
		}
	})
	return n
}

// open connects anew, as an agent does that was started again.
func (n *node) open() {
	n.t.Helper()
	c, err := runc.Open(n.ctx, n.cfg)
	if err != nil {
		b, _ := os.ReadFile(filepath.Join(n.cfg.StateDir, "keeper.log"))
		n.t.Fatalf("open: %v\n%s", err, b)
	}
	n.Client = c
	if n.exits, err = c.Exits(n.ctx); err != nil {
		n.t.Fatalf("exits: %v", err)
	}
}

func (n *node) spec(id string, args ...string) *isolation.Spec {
	return &isolation.Spec{
		ID: sdk.TaskID(id), LogDir: filepath.Join(n.logs, id),
		Program: isolation.Program{Layers: []string{layer}, Args: args, Env: []string{"PATH=/bin"}},
		Limits:  isolation.Limits{CPUWeight: 100, Memory: 64 << 20},
	}
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

// begin creates and starts a container.
func (n *node) begin(s *isolation.Spec) {
	n.t.Helper()
	if err := n.Create(n.ctx, s); err != nil {
		n.t.Fatalf("create %s: %v", s.ID, err)
	}
	if err := n.Start(n.ctx, s.ID); err != nil {
		n.t.Fatalf("start %s: %v", s.ID, err)
	}
}

// end waits for the container to stop.
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

// crash kills the keeper where it stands.
func (n *node) crash() {
	n.t.Helper()
	pid := n.Info().PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	n.until("the keeper's end", func() bool { return syscall.Kill(pid, 0) != nil })
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
	n.t.Fatalf("%s is not among %v", id, list)
	panic("unreachable")
}

// run runs a container to its end and returns that and what it printed.
func (n *node) run(s *isolation.Spec) (*isolation.Exit, string) {
	n.t.Helper()
	n.begin(s)
	e := n.end(s.ID)
	return e, n.output(s, logfile.Stdout)
}

func (n *node) output(s *isolation.Spec, stream string) string {
	n.t.Helper()
	r, err := logfile.Open(s.LogDir, stream, -1)
	if err != nil {
		n.t.Fatal(err)
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

// line waits until the stream's first lines hold text.
func (n *node) line(s *isolation.Spec, text string) {
	n.t.Helper()
	n.until("output "+text, func() bool { return strings.Contains(n.output(s, logfile.Stdout), text) })
}

// until waits for something that nobody tells of.
func (n *node) until(what string, ok func() bool) {
	n.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			n.t.Fatalf("waiting for %s: %v", what, n.ctx.Err())
		}
	}
}

func hash(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return hex.EncodeToString(sum[:6])
}

// nothingLeft checks that a state folder's keeper left nothing on the machine.
func nothingLeft(t testing.TB, stateDir string) {
	t.Helper()
	name := "drupe-" + hash(stateDir)
	if _, err := os.Stat("/run/" + name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("/run/%s is left (%v)", name, err)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, name) || strings.Contains(line, stateDir) {
			t.Errorf("mount left: %s", line)
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, name) {
			t.Errorf("cgroup left: %s", path)
			return fs.SkipDir
		}
		return nil
	})
	for end := time.Now().Add(10 * time.Second); len(loops(stateDir)) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("loop devices left: %v", loops(stateDir))
			break
		}
	}
	for _, dir := range []string{"tasks", "runc"} {
		if _, err := os.Stat(filepath.Join(stateDir, dir)); err == nil {
			t.Errorf("folder %s is left", dir)
		}
	}
	if pids := processesWith(stateDir); len(pids) > 0 {
		t.Errorf("processes left: %v", pids)
	}
}

// processesWith returns the processes whose command line holds text: keepers,
// and the first processes of containers that are not yet executed.
func processesWith(text string) (pids []int) {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range list {
		b, _ := os.ReadFile(f)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if strings.Contains(string(b), text) && pid != os.Getpid() && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

func alive(pid int32) bool { return syscall.Kill(int(pid), 0) == nil && !zombie(int(pid)) }

// masterMain is another process that starts a container and waits to be
// killed.
func masterMain(dir string) int {
	ctx := context.Background()
	elf, err := os.ReadFile(filepath.Join(dir, "keeper"))
	if err == nil {
		var c *runc.Client
		if c, err = runc.Open(ctx, runc.Config{StateDir: filepath.Join(dir, "state"), Keeper: elf, DieWith: true}); err == nil {
			s := &isolation.Spec{ID: "a", LogDir: filepath.Join(dir, "logs"), Program: isolation.Program{
				Layers: []string{os.Getenv("DRUPE_TEST_LAYER")}, Args: sh("trap '' TERM; while :; do /bin/busybox sleep 1; done")}}
			if err = c.Create(ctx, s); err == nil {
				err = c.Start(ctx, "a")
			}
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("up")
	select {}
}
