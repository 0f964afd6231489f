package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// demo is one run: a cluster of its own and the commands given to it.
type demo struct {
	drupe, examples, cache string
	config                 string // folder of the cluster's context; it goes with the cluster
	out                    *transcript
	cluster                *exec.Cmd
	log                    tail
	ended                  chan struct{} // closed when the cluster has ended
}

// startTime is how long the cluster may take to be ready. The first time the
// plugins are compiled, which takes seconds.
const startTime = 90 * time.Second

// start starts the cluster and waits until it is ready.
//
// "drupe dev" makes and removes its own folders. It is asked to end when this
// process does, in whatever way; when it is killed itself, what it left is
// removed by a process that it keeps for that.
func (d *demo) start(ctx context.Context) error {
	d.config = filepath.Join(os.TempDir(), fmt.Sprintf("drupe-demo-%d-%x", os.Getpid(), time.Now().UnixNano()))
	d.out.title("A server and three nodes on this machine.")
	d.out.command("drupe dev --agents 3 &")
	d.cluster = exec.Command(d.drupe, "dev", "--agents", "3", "--listen", "127.0.0.1:0")
	d.cluster.Env = d.environ()
	d.cluster.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	d.cluster.Stdout, d.cluster.Stderr = &d.log, &d.log
	d.log.ready = make(chan struct{})
	if err := d.cluster.Start(); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	d.ended = make(chan struct{})
	go func() {
		d.cluster.Wait()
		close(d.ended)
	}()
	late := time.NewTimer(startTime)
	defer late.Stop()
	select {
	case <-d.log.ready:
		d.out.note(d.log.first())
		return nil
	case <-d.ended:
		return errors.New("starting the cluster: it ended")
	case <-late.C:
		return fmt.Errorf("starting the cluster: not ready after %s", startTime)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end ends the cluster and waits for it. An error says that it did not end well.
func (d *demo) end() error {
	if d.ended == nil {
		return nil
	}
	d.cluster.Process.Signal(syscall.SIGTERM)
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case <-d.ended:
	case <-late.C:
		d.cluster.Process.Kill()
		<-d.ended
		return errors.New("ending the cluster: it had to be killed")
	}
	if state := d.cluster.ProcessState; !state.Success() {
		return fmt.Errorf("ending the cluster: %s", state)
	}
	return nil
}

func (d *demo) environ() []string {
	env := append(os.Environ(), "DRUPE_CONFIG="+d.config)
	for _, other := range []string{"DRUPE_CONTEXT", "DRUPE_ADDR", "DRUPE_CA_FILE", "DRUPE_TOKEN_FILE"} {
		env = append(env, other+"=") // whatever else the user's cluster is, this is ours
	}
	if d.cache != "" {
		env = append(env, "DRUPE_CACHE="+d.cache)
	}
	return env
}

// try runs a command of drupe as a person would: shown with its output.
func (d *demo) try(ctx context.Context, args ...string) error {
	d.out.command(append([]string{"drupe"}, args...)...)
	c := d.command(ctx, args...)
	c.Stdout, c.Stderr = d.out.w, d.out.w
	if err := c.Run(); err != nil {
		return fmt.Errorf("drupe %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// ask runs a command silently and reads its JSON.
func (d *demo) ask(ctx context.Context, answer any, args ...string) error {
	out, err := d.command(ctx, append(args, "-o", "json")...).Output()
	if err == nil {
		err = json.Unmarshal(out, answer)
	}
	if err != nil {
		return fmt.Errorf("drupe %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (d *demo) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, d.drupe, args...)
	c.Env = d.environ()
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 5 * time.Second
	return c
}

// tail keeps the beginning and the last lines of what the cluster says, and
// notices when it is ready.
type tail struct {
	mu    sync.Mutex
	start []byte // the line that says it is ready
	last  []byte
	ready chan struct{}
}

const tailSize = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	if t.start == nil {
		for line := range bytes.Lines(t.last) {
			if bytes.HasPrefix(line, []byte("drupe dev is ready")) && bytes.HasSuffix(line, []byte("\n")) {
				t.start = bytes.Clone(bytes.TrimSpace(line))
				close(t.ready)
			}
		}
	}
	if over := len(t.last) - tailSize; over > 0 {
		t.last = append(t.last[:0], t.last[over:]...)
	}
	return len(b), nil
}

func (t *tail) first() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.start)
}

func (t *tail) tail() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
