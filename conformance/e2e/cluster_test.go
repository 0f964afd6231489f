package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
)

// patience is how long something may take that takes well below a second on an
// idle machine. It bounds a failing test, not a passing one.
const patience = 60 * time.Second

// cluster is servers and agents of one test, and a user of them.
type cluster struct {
	t   testing.TB
	dir string
	env []string
}

// newCluster makes a folder for a cluster in which nothing runs yet.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp(base, "c-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &cluster{t: t, dir: dir, env: append(os.Environ(), "DRUPE_CONFIG="+filepath.Join(dir, "config"),
		"DRUPE_CACHE="+filepath.Join(root, ".build", "cache"), "DRUPE_LOG=info", "DRUPE_CONTEXT=", "DRUPE_ADDR=", "DRUPE_CA_FILE=",
		"DRUPE_TOKEN_FILE=", "NO_COLOR=1", "COLUMNS=200")}
}

// startDev starts "drupe dev" and ends it after the test.
func startDev(t testing.TB, agents int) *cluster {
	t.Helper()
	c := newCluster(t)
	p := c.start("dev", "dev", "--agents", fmt.Sprint(agents), "--listen", "127.0.0.1:0")
	p.says("drupe dev is ready")
	watchKeepers(filepath.Join(base, "drupe-dev-*", "n*", "keeper"))
	t.Cleanup(func() {
		if err := p.end(syscall.SIGTERM); err != nil {
			t.Errorf("drupe dev did not end well: %v\n%s", err, p.output())
		}
	})
	return c
}

// run runs a command of drupe and returns what it printed and its exit code.
func (c *cluster) run(args ...string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, drupe, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.env, c.dir, &out, &errs
	if err := cmd.Run(); err != nil {
		code = -1
		if cmd.ProcessState != nil {
			code = cmd.ProcessState.ExitCode()
		}
	}
	return out.String(), errs.String(), code
}

// drupe runs a command that must succeed and returns its output.
func (c *cluster) drupe(args ...string) string {
	c.t.Helper()
	out, errs, code := c.run(args...)
	if code != 0 {
		c.t.Fatalf("drupe %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// apply declares a CUE text.
func (c *cluster) apply(text string, args ...string) {
	c.t.Helper()
	file := filepath.Join(c.dir, "app.cue")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.drupe(append([]string{"apply", "-f", file}, args...)...)
}

// tasks returns the live tasks of a document, or with all the ended ones too.
func (c *cluster) tasks(name string, all bool) []sdk.TaskView {
	c.t.Helper()
	tasks, err := c.tryTasks(name, all)
	if err != nil {
		c.t.Fatal(err)
	}
	return tasks
}

func (c *cluster) tryTasks(name string, all bool) ([]sdk.TaskView, error) {
	args := []string{"ps", name, "-o", "json"}
	if all {
		args = append(args, "--all")
	}
	out, errs, code := c.run(args...)
	if code != 0 {
		return nil, fmt.Errorf("drupe ps: exit code %d: %s", code, errs)
	}
	var r struct{ Tasks []sdk.TaskView }
	return r.Tasks, json.Unmarshal([]byte(out), &r)
}

// until looks again and again until something is so that nobody tells of.
func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	late, tick := time.NewTimer(patience), time.NewTicker(50*time.Millisecond)
	defer late.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late.C:
			out, _, _ := c.run("ps", "--all")
			c.t.Fatalf("waited %s for %s\n%s", patience, what, out)
		}
	}
}

// untilTasks waits until the live tasks of a document are as they should be, and
// returns them.
func (c *cluster) untilTasks(name, what string, ok func([]sdk.TaskView) bool) (tasks []sdk.TaskView) {
	c.t.Helper()
	c.until(what, func() bool {
		var err error
		tasks, err = c.tryTasks(name, false)
		return err == nil && ok(tasks)
	})
	return tasks
}

// process is a running server, agent or cluster.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	ended chan struct{}

	mu   sync.Mutex
	out  bytes.Buffer
	news chan struct{} // closed at the next output
}

// start starts the program; it is killed after the test if it still runs, and
// its output is shown when the test failed.
func (c *cluster) start(name string, args ...string) *process {
	c.t.Helper()
	return c.startCommand(name, exec.Command(drupe, args...), 0)
}

// startCommand does so with any command, in new namespaces of the given kinds.
func (c *cluster) startCommand(name string, cmd *exec.Cmd, namespaces uintptr) *process {
	c.t.Helper()
	p := &process{t: c.t, cmd: cmd, ended: make(chan struct{}), news: make(chan struct{})}
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.env, c.dir, p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM, Cloneflags: namespaces}
	p.cmd.WaitDelay = time.Second // what it leaves behind may hold its output
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	c.t.Cleanup(func() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // with its children
		p.end(syscall.SIGKILL)
		if c.t.Failed() {
			c.t.Logf("output of %s:\n%s", name, p.output())
		}
	})
	return p
}

// Write takes the process's output.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.news)
	p.news = make(chan struct{})
	return p.out.Write(b)
}

// reset forgets what the process has printed.
func (p *process) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.Reset()
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// says waits until the process has printed a text.
func (p *process) says(text string) {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		p.mu.Lock()
		said, news := strings.Contains(p.out.String(), text), p.news
		p.mu.Unlock()
		if said {
			return
		}
		select {
		case <-news:
		case <-p.ended:
			if !strings.Contains(p.output(), text) {
				p.t.Fatalf("%s ended instead of saying %q:\n%s", p.cmd.Args, text, p.output())
			}
		case <-late.C:
			p.t.Fatalf("%s does not say %q:\n%s", p.cmd.Args, text, p.output())
		}
	}
}

// end sends a signal and waits. The error is that of the process.
func (p *process) end(s syscall.Signal) error {
	p.cmd.Process.Signal(s)
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.ended:
	case <-late.C:
		p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("it did not end on %s within %s", s, patience)
	}
	if !p.cmd.ProcessState.Success() {
		return fmt.Errorf("%s", p.cmd.ProcessState)
	}
	return nil
}

// server starts a server with its data in the cluster's folder.
func (c *cluster) server(listen, agents string) *process {
	c.t.Helper()
	p := c.start("server", "server", "--data", filepath.Join(c.dir, "server"), "--name", "s1", "--listen", listen, "--agents", agents)
	p.says("nodes join with")
	return p
}

// agent starts the agent of a node, which joins when it has not joined before.
// What it runs is ended after the test.
func (c *cluster) agent(name, server string) *process {
	c.t.Helper()
	data := filepath.Join(c.dir, name)
	if _, err := os.Stat(data); err != nil {
		c.t.Cleanup(func() { c.takeDown(data) })
	}
	p := c.start(name, "agent", "--data", data, "--name", name, "--server", server, "--address", "127.0.0.1",
		"--join-token", filepath.Join(c.dir, "server", "join.token"))
	p.says("node runs")
	watchKeepers(filepath.Join(data, "keeper"))
	return p
}

// takeDown ends what a node runs although its agent has ended.
func (c *cluster) takeDown(data string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	program, err := os.ReadFile(filepath.Join(root, "bin", "drupe-keeper"))
	if err == nil {
		var rt *runc.Client
		if rt, err = runc.Open(ctx, runc.Config{StateDir: filepath.Join(data, "keeper"), Keeper: program}); err == nil {
			err = rt.Shutdown(ctx)
		}
	}
	if err != nil {
		c.t.Errorf("taking down %s: %v", data, err)
	}
}
