package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/drupe-os/drupe/isolation"
	runtimes "github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
	"github.com/drupe-os/drupe/sdk/wire"
)

// yard is a keeper of the bench's own, with a layer that holds hello and a
// shell.
type yard struct {
	*runtimes.Client
	r      *run
	layer  string
	keeper int // process id

	mu    sync.Mutex
	ended map[sdk.TaskID]chan struct{}
	next  int
}

// yard starts a keeper. The caller closes it.
func (r *run) yard(name string) (*yard, error) {
	hello, err := r.hello()
	if err != nil {
		return nil, err
	}
	layer := filepath.Join(r.scratch, "shell")
	if _, err := os.Stat(layer); err != nil {
		script := fmt.Sprintf("cp -a %s/. %s && cp /bin/busybox %s/bin/busybox && ln -s busybox %s/bin/sh", hello, layer, layer, layer)
		if err := os.MkdirAll(filepath.Join(layer, "bin"), 0o755); err != nil {
			return nil, err
		}
		if out, err := exec.CommandContext(r, "sh", "-c", script).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("making a layer: %w: %s", err, out)
		}
	}
	program, err := os.ReadFile(filepath.Join(r.root, "bin", "drupe-keeper"))
	if err != nil {
		return nil, err
	}
	state := filepath.Join(r.scratch, name)
	rt, err := runtimes.Open(r, runtimes.Config{StateDir: state, Keeper: program, DieWith: true})
	if err != nil {
		return nil, err
	}
	y := &yard{Client: rt, r: r, layer: layer, keeper: keeperOf(state), ended: map[sdk.TaskID]chan struct{}{}}
	exits, err := rt.Exits(r)
	if err != nil {
		y.close()
		return nil, err
	}
	go func() {
		for id := range exits {
			close(y.end(id))
		}
	}()
	return y, nil
}

// end is closed when the container stops.
func (y *yard) end(id sdk.TaskID) chan struct{} {
	y.mu.Lock()
	defer y.mu.Unlock()
	c := y.ended[id]
	if c == nil {
		c = make(chan struct{})
		y.ended[id] = c
	}
	return c
}

func (y *yard) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	y.Shutdown(ctx)
}

// spec is a container of the program.
func (y *yard) spec(args ...string) *isolation.Spec {
	y.mu.Lock()
	y.next++
	id := sdk.TaskID(fmt.Sprintf("b%d", y.next))
	y.mu.Unlock()
	return &isolation.Spec{ID: id, LogDir: filepath.Join(y.r.scratch, "logs", string(id)),
		Program: isolation.Program{Layers: []string{y.layer}, Args: args, Env: []string{"PATH=/bin"}},
		Limits:  isolation.Limits{CPUWeight: 100, Memory: 64 << 20}}
}

// life takes a container through its whole life. ready is the part until its
// program runs, started that from the start to its end.
func (y *yard) life(s *isolation.Spec) (whole, ready, started time.Duration, err error) {
	begun := time.Now()
	if err := y.Create(y.r, s); err != nil {
		return 0, 0, 0, err
	}
	created := time.Now()
	if err := y.Start(y.r, s.ID); err != nil {
		return 0, 0, 0, err
	}
	ready = time.Since(begun)
	select {
	case <-y.end(s.ID):
	case <-y.r.Done():
		return 0, 0, 0, y.r.Err()
	}
	started = time.Since(created)
	if err := y.Remove(y.r, s.ID); err != nil {
		return 0, 0, 0, err
	}
	return time.Since(begun), ready, started, nil
}

// idle starts a container that does nothing.
func (y *yard) idle() (sdk.TaskID, error) {
	s := y.spec("/bin/busybox", "sleep", "100000")
	if err := y.Create(y.r, s); err != nil {
		return "", err
	}
	return s.ID, y.Start(y.r, s.ID)
}

// exec runs a program in a container that runs, to its end.
func (y *yard) exec(id sdk.TaskID, command ...string) (time.Duration, error) {
	begun := time.Now()
	conn, err := y.Open(y.r, id, &session.Request{Op: session.Exec, Command: command})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var buf []byte
	for {
		kind, body, err := wire.Read(conn, &buf)
		if err != nil {
			return 0, err
		}
		if kind == session.End {
			return time.Since(begun), ok(body)
		}
	}
}
