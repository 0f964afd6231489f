package keeper

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/bundle"
	"github.com/drupe-os/drupe/sdk"
)

// How many containers are kept ready, how long one waits to be wanted, and the
// least memory limit that has room for the stub in it.
const (
	warmMost   = 8
	warmFor    = time.Minute
	warmMemory = 16 << 20
)

// pool keeps containers ready for tasks like those that were asked for more
// than once of late: batches, instances of one service, what is restarted. Such
// a container has all that its task will have but for the program, the
// environment and the name; a stub waits in it. Taking one costs a message in
// place of a container's making.
type pool struct {
	k    *keeper
	work sync.WaitGroup

	mu     sync.Mutex
	seen   map[string]time.Time // when a like task was last asked for
	ready  map[string]*task     // nil while one is being made
	next   int
	closed bool
}

func newPool(k *keeper) *pool {
	return &pool{k: k, seen: map[string]time.Time{}, ready: map[string]*task{}}
}

// likeness names all that a container prepared for the task has: "" for a task
// that none can be prepared for.
func likeness(s *isolation.Spec) string {
	fits := s.Warm && len(s.Sidecars) == 0 && len(s.Mounts) == 0 && len(s.Devices) == 0 &&
		!s.PrivateNetwork && !s.HostPID && !s.HostIPC && !s.HostUsers && !s.Program.HostRoot &&
		len(s.Limits.Rlimits) == 0 && (s.Limits.Memory == 0 || s.Limits.Memory >= warmMemory)
	if !fits {
		return ""
	}
	like := *s
	like.ID, like.LogDir = "", ""
	like.Program.Args, like.Program.Env = nil, nil
	b, err := json.Marshal(&like)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return string(sum[:])
}

// take returns a container that is ready for such a task, nil for none.
func (w *pool) take(like string) *task {
	if like == "" {
		return nil
	}
	w.mu.Lock()
	t := w.ready[like]
	if t != nil {
		delete(w.ready, like)
	}
	w.mu.Unlock()
	if t == nil {
		return nil
	}
	select {
	case <-t.own.ended: // somebody killed it
		w.k.discard(t)
		return nil
	default:
		return t
	}
}

// asked notes that such a task was wanted, and prepares for the next one when
// that was not the first of late.
func (w *pool) asked(like string, s *isolation.Spec) {
	if like == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, again := w.seen[like]
	w.seen[like] = time.Now()
	for other, at := range w.seen {
		if time.Since(at) > warmFor {
			delete(w.seen, other)
		}
	}
	_, there := w.ready[like]
	if w.closed || there || !again || time.Since(last) > warmFor || len(w.ready) >= warmMost {
		return
	}
	w.ready[like] = nil
	w.next++
	spec := *s
	spec.ID = sdk.TaskID(fmt.Sprintf(".warm-%d-%d", os.Getpid(), w.next))
	w.work.Go(func() { w.prepare(like, &spec) })
}

// prepare makes a container with a stub in it.
func (w *pool) prepare(like string, s *isolation.Spec) {
	t, err := w.k.prepare(s)
	w.mu.Lock()
	switch {
	case err != nil:
		delete(w.ready, like)
		logf("preparing a container: %v", err)
	case w.closed:
		delete(w.ready, like)
	default:
		w.ready[like] = t
		time.AfterFunc(warmFor, func() { w.expire(like, t) })
		t = nil
	}
	w.mu.Unlock()
	if t != nil {
		w.k.discard(t)
	}
}

// expire gives up a container that nobody wanted.
func (w *pool) expire(like string, t *task) {
	w.mu.Lock()
	mine := w.ready[like] == t
	if mine {
		delete(w.ready, like)
		w.work.Add(1)
		defer w.work.Done()
	}
	w.mu.Unlock()
	if mine {
		w.k.discard(t)
	}
}

// close gives up all of them and prepares no more.
func (w *pool) close() {
	w.mu.Lock()
	w.closed = true
	list := w.ready
	w.ready = map[string]*task{}
	w.mu.Unlock()
	for _, t := range list {
		if t != nil {
			w.k.discard(t)
		}
	}
	w.work.Wait()
}

// prepare makes the container of a task that is not there yet. It belongs to
// nobody until it is claimed.
func (k *keeper) prepare(s *isolation.Spec) (*task, error) {
	pipes, theirs, err := newStub()
	if err != nil {
		return nil, err
	}
	t := &task{id: s.ID, dir: filepath.Join(k.tasksDir, string(s.ID)), closed: make(chan struct{}), stub: pipes, given: theirs}
	err = k.make(t, s)
	for _, f := range theirs {
		f.Close()
	}
	t.given = nil
	if err != nil {
		pipes.close()
		return nil, err
	}
	if err := t.own.ctr.Exec(); err != nil {
		k.discard(t)
		return nil, err
	}
	return t, nil
}

// discard removes a prepared container.
func (k *keeper) discard(t *task) {
	t.stub.close()
	t.unmake()
	if err := os.RemoveAll(t.dir); err != nil {
		logf("%s: %v", t.id, err)
	}
}

// claim makes a prepared container that of the task.
func (k *keeper) claim(t *task, s *isolation.Spec) error {
	dir := filepath.Join(k.tasksDir, string(s.ID))
	if err := os.Rename(t.dir, dir); err != nil {
		return err
	}
	t.id, t.dir, t.rec.Spec = s.ID, dir, s
	t.own.dir, t.own.spec = dir, &s.Program
	if err := t.saveRecord(); err != nil {
		return err
	}
	if err := setHostname(t.rec.PID, bundle.Hostname(s.ID)); err != nil {
		return err
	}
	t.own.out.start(s, t.own)
	return nil
}

// setHostname sets the name in another process's UTS namespace.
func setHostname(pid int, name string) error {
	ns, err := os.Open(pidDir(pid, "ns/uts"))
	if err != nil {
		return err
	}
	defer ns.Close()
	failed := make(chan error)
	go func() {
		// The thread is in another namespace then: it ends with this goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWUTS); err != nil {
			failed <- os.NewSyscallError("setns", err)
			return
		}
		failed <- os.NewSyscallError("sethostname", unix.Sethostname([]byte(name)))
	}()
	return <-failed
}
