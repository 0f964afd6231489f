package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// TestSessions reaches into running tasks as people do: programs in their
// containers with and without a terminal, their output, files and ports.
func TestSessions(t *testing.T) {
	c := startDev(t, 1)
	shell := filepath.Join(c.dir, "shell")
	build := exec.Command(filepath.Join(root, "bin", "imagebuild"), "-out", shell, "-tag", "latest",
		"-file", "/bin/busybox=/bin/busybox", "-file", "/bin/sh=/bin/busybox", "-file", "/tmp/file=/bin/busybox", "-entrypoint", "/bin/sh")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("image: %v\n%s", err, out)
	}
	c.apply(`services: shell: {
	instances: 1
	run: container: {image: "oci:`+shell+`", args: ["-c", "trap 'exit 5' TERM; while :; do echo tick; busybox usleep 50000; done"]}
	resources: {cpus: 0.1, mem: 32Mi}
}
services: web: {
	instances: 1
	run: container: image: "oci:`+filepath.Join(root, "bin", "images", "hello")+`"
	resources: {cpus: 0.1, mem: 32Mi}
	ports: http: {}
}
`, "--wait=1m")
	for _, part := range []struct {
		name string
		try  func(*cluster, *testing.T)
	}{
		{"exec", (*cluster).execs}, {"terminal", (*cluster).execsInTerminal}, {"cp", (*cluster).copies},
		{"port-forward", (*cluster).forwards}, {"attach", (*cluster).attaches}, // ends the task
	} {
		t.Run(part.name, func(t *testing.T) { part.try(&cluster{t: t, dir: c.dir, env: c.env}, t) })
	}
	c.drupe("rm", "shell", "web", "--yes")
}

// input runs a command of drupe with standard input.
func (c *cluster) input(in io.Reader, args ...string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, drupe, args...)
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = c.env, c.dir, in, &out, &errs
	cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (c *cluster) execs(t *testing.T) {
	for _, k := range []struct {
		name, in  string
		args      []string
		code      int
		out, errs string // errs: part of it
	}{
		{"both outputs", "", []string{"shell", "--", "sh", "-c", "echo out; echo err >&2; exit 42"}, 42, "out\n", "err\n"},
		{"input", "typed", []string{"-i", "shell", "--", "busybox", "cat"}, 0, "typed", ""},
		{"no input", "typed", []string{"shell", "--", "busybox", "cat"}, 0, "", ""},
		{"environment", "", []string{"--env", "A=b", "--workdir", "/bin", "shell", "--", "sh", "-c", "echo $A; pwd"}, 0, "b\n/bin\n", ""},
		{"killed", "", []string{"shell", "--", "sh", "-c", "kill -9 $$"}, 137, "", ""},
		{"no program", "", []string{"shell", "--", "/nowhere"}, 127, "", "error: "},
		{"not executable", "", []string{"shell", "--", "/etc/hosts"}, 126, "", "error: "},
		{"no such task", "", []string{"shell.none", "--", "sh"}, 3, "", "error: "},
		{"no such sidecar", "", []string{"--sidecar", "x", "shell", "--", "sh"}, 3, "", `no sidecar "x"`},
	} {
		out, errs, code := c.input(strings.NewReader(k.in), append([]string{"exec"}, k.args...)...)
		if code != k.code || out != k.out || !strings.Contains(errs, k.errs) {
			t.Errorf("%s: exit code %d, printed %q and %q", k.name, code, out, errs)
		}
	}
	p := c.start("exec", "exec", "shell", "--", "sh", "-c", "trap 'echo heard; exit 9' INT; echo ready; while :; do busybox usleep 10000; done")
	p.says("ready")
	p.end(syscall.SIGINT)
	if out := p.output(); !strings.HasSuffix(out, "heard\n") || p.cmd.ProcessState.ExitCode() != 9 {
		t.Errorf("interrupted: %s, printed %q", p.cmd.ProcessState, out)
	}
}

// execsInTerminal types into a program, changes the terminal's size, and finds
// the terminal as it was, however the command ends.
func (c *cluster) execsInTerminal(t *testing.T) {
	ours, theirs, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	before, err := term.GetState(int(theirs.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	screen := &process{t: t, ended: make(chan struct{}), news: make(chan struct{})}
	go io.Copy(screen, ours)
	begin := func(args ...string) *exec.Cmd {
		screen.reset()
		screen.cmd = exec.Command(drupe, append([]string{"exec", "-it", "shell", "--"}, args...)...)
		screen.cmd.Env, screen.cmd.Stdin, screen.cmd.Stdout, screen.cmd.Stderr = c.env, theirs, theirs, theirs
		screen.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := screen.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return screen.cmd
	}
	restored := func() {
		if after, err := term.GetState(int(theirs.Fd())); err != nil || *after != *before {
			t.Errorf("the terminal is not as it was: %v", err)
		}
	}
	pty.Setsize(ours, &pty.Winsize{Rows: 30, Cols: 100})
	cmd := begin("sh", "-c", "busybox stty size; trap 'busybox stty size; exit 7' WINCH; trap 'echo heard' INT; while :; do busybox usleep 10000; done")
	screen.says("30 100")
	io.WriteString(ours, "\x03")
	screen.says("heard")
	pty.Setsize(ours, &pty.Winsize{Rows: 40, Cols: 120})
	screen.says("40 120")
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("it ended with %s", cmd.ProcessState)
	}
	restored()

	cmd = begin("sh", "-c", "echo ready; busybox sleep 1000")
	screen.says("ready")
	cmd.Process.Signal(syscall.SIGTERM)
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("ended by a signal: %s", cmd.ProcessState)
	}
	restored()
}

func (c *cluster) copies(t *testing.T) {
	data := make([]byte, 3<<20+1)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	folder := filepath.Join(c.dir, "site")
	if err := os.MkdirAll(filepath.Join(folder, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "sub", "data"), data, 0o640); err != nil {
		t.Fatal(err)
	}
	same := func(path string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(c.dir, path))
		if err != nil || sha256.Sum256(b) != sha256.Sum256(data) {
			t.Errorf("%s: %d bytes, %v", path, len(b), err)
		}
	}
	c.drupe("cp", folder, "shell:/tmp/new")
	c.drupe("cp", folder, "shell:/tmp")
	c.drupe("exec", "shell", "--", "busybox", "cmp", "/tmp/new/sub/data", "/tmp/site/sub/data")
	c.drupe("cp", "shell:/tmp/new/sub/data", "one")
	same("one")
	c.drupe("cp", "service/shell:/tmp/new", ".")
	same("new/sub/data")
	if fi, err := os.Stat(filepath.Join(c.dir, "new/sub/data")); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("permissions: %v, %v", fi, err)
	}
	tar := c.drupe("cp", "shell:/tmp/site", "-")
	if _, errs, code := c.input(strings.NewReader(tar), "cp", "-", "shell:/tmp/again"); code != 0 {
		t.Errorf("a tar stream: %s", errs)
	}
	c.drupe("exec", "shell", "--", "busybox", "cmp", "/tmp/new/sub/data", "/tmp/again/sub/data")
	for _, args := range [][]string{{"shell:/nowhere", "x"}, {"nowhere", "shell:/tmp"}, {"one", "shell:/no/where"}} {
		if _, errs, code := c.run(append([]string{"cp"}, args...)...); code != 3 || !strings.Contains(errs, "not there") {
			t.Errorf("cp %s: exit code %d, %s", args, code, errs)
		}
	}
	if _, err := os.Lstat(filepath.Join(c.dir, "x")); err == nil {
		t.Error("a copy that failed left something")
	}
}

func (c *cluster) forwards(t *testing.T) {
	p := c.start("forward", "port-forward", "web", "http", "0:1", "-o", "json")
	p.says(`"port":1}`)
	var bound [2]struct{ Local string }
	d := json.NewDecoder(strings.NewReader(p.output()))
	for i := range bound {
		if err := d.Decode(&bound[i]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := http.Get("http://" + bound[1].Local); err == nil {
		t.Error("a port nobody listens on answers")
	}
	p.says("nobody listens on port 1")
	r, err := http.Get("http://" + bound[0].Local)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if b, err := io.ReadAll(r.Body); err != nil || !strings.HasPrefix(string(b), "hello from web.") {
		t.Errorf("%q, %v", b, err)
	}
	if err := p.end(syscall.SIGINT); err != nil {
		t.Error(err)
	}
}

func (c *cluster) attaches(t *testing.T) {
	p := c.start("attach", "attach", "shell")
	p.says("tick")
	p.end(syscall.SIGINT)
	if p.cmd.ProcessState.ExitCode() != 130 || !strings.Contains(p.output(), "runs on") {
		t.Errorf("detached: %s, %q", p.cmd.ProcessState, p.output())
	}
	id := string(c.tasks("shell", false)[0].ID)
	p = c.start("attach", "attach", id)
	p.says("tick")
	c.drupe("stop", "shell")
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("exit code %d\n%s", code, p.output())
	}
	if _, errs, code := c.run("exec", id, "--", "sh"); code == 0 || !strings.Contains(errs, "error: ") {
		t.Errorf("a task that has ended: exit code %d, %s", code, errs)
	}
	if _, errs, code := c.run("exec", "shell", "--", "sh"); code != 5 || !strings.Contains(errs, "none of its tasks runs") {
		t.Errorf("nothing runs: exit code %d, %s", code, errs)
	}
}
