package worker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// watchEvery is how often a busy worker's memory and CPU time are looked at.
const watchEvery = 20 * time.Millisecond

// startWithin bounds the start of a worker, which compiles the schema.
const startWithin = 30 * time.Second

// process is one running worker. It does one thing at a time.
type process struct {
	config Config
	cmd    *exec.Cmd
	in     io.WriteCloser
	pipe   io.ReadCloser
	out    *bufio.Reader
	group  *group
	begin  int64 // bytes it held when it was ready
	done   int   // requests served
	ended  chan struct{}
}

// start runs a worker and waits until it is ready.
func start(c Config) (*process, error) {
	w := &process{config: c, ended: make(chan struct{})}
	unavailable := func(err error) error {
		return sdk.Errorf(sdk.Unavailable, "checking", "the worker that checks documents cannot be started: %v", err).ToFix("see the server's log; try again")
	}
	w.cmd = exec.Command(c.Program[0], append(c.Program[1:len(c.Program):len(c.Program)], strconv.FormatInt(c.Memory, 10))...)
	w.cmd.Env = environment(os.Environ())
	var err error
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, unavailable(err)
	}
	if w.pipe, err = w.cmd.StdoutPipe(); err != nil {
		return nil, unavailable(err)
	}
	w.out = bufio.NewReader(w.pipe)
	if c.Cgroup != "" {
		if w.group, err = newGroup(c.Cgroup, c.Memory); err != nil {
			return nil, unavailable(err)
		}
	}
	started := make(chan error)
	go w.run(started)
	if err := <-started; err != nil {
		w.group.remove()
		return nil, unavailable(err)
	}
	if err := w.group.add(w.cmd.Process.Pid); err != nil {
		w.end()
		return nil, unavailable(err)
	}
	ready := make(chan error, 1)
	var hello answer
	go func() { ready <- receive(w.out, &hello) }()
	timer := time.NewTimer(startWithin)
	defer timer.Stop()
	select {
	case err = <-ready:
	case <-timer.C:
		err = errors.New("not ready after " + startWithin.String())
	}
	if err != nil {
		w.end()
		return nil, unavailable(err)
	}
	w.begin = hello.Resident
	return w, nil
}

// run starts the process and waits for its end, all on one thread: the kernel
// sends the death signal when the thread that started the process ends.
func (w *process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := w.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	// The state is read from the process, not from Wait, whose pipes are ours.
	_, _ = w.cmd.Process.Wait()
	close(w.ended)
}

// environment is ours without what changes how CUE evaluates.
func environment(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(cleared, name)
	})
}

// end kills the worker and waits until it is gone.
func (w *process) end() {
	_ = w.cmd.Process.Kill() // it may be gone
	<-w.ended
	_ = w.in.Close()
	_ = w.pipe.Close()
	w.group.remove()
}

// worn reports whether the worker should be replaced after an answer.
func (w *process) worn(a *answer) bool {
	return w.done >= w.config.Documents || a.Resident-w.begin > w.config.Growth
}

// do has one request worked on and watches meanwhile. After an error the worker
// must be ended.
func (w *process) do(ctx context.Context, q request) (*answer, error) {
	w.done++
	began, cpu := time.Now(), w.cpu()
	type result struct {
		a   answer
		err error
	}
	got := make(chan result, 1)
	go func() {
		var r result
		if r.err = send(w.in, q); r.err == nil {
			r.err = receive(w.out, &r.a)
		}
		got <- r
	}()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case r := <-got:
			if r.err != nil {
				return nil, w.died(q, r.err)
			}
			return &r.a, nil
		case <-ctx.Done():
			return nil, sdk.Errorf(sdk.Timeout, q.subject(), "the request was given up").Because("%v", ctx.Err())
		case <-tick.C:
			if err := w.over(q, began, cpu); err != nil {
				return nil, err
			}
		}
	}
}

// over returns the fault of a worker that is over a limit.
func (w *process) over(q request, began time.Time, cpu time.Duration) error {
	fix := "make it smaller: fewer generated values, no deep disjunctions"
	if held := resident(strconv.Itoa(w.cmd.Process.Pid)); held > w.config.Memory {
		return sdk.Errorf(sdk.Exhausted, q.subject(), "checking it takes too much memory").
			Because("more than %d MiB", w.config.Memory>>20).ToFix("%s", fix)
	}
	if used := w.cpu() - cpu; used > w.config.CPU {
		return sdk.Errorf(sdk.Exhausted, q.subject(), "checking it takes too much processor time").
			Because("more than %s", w.config.CPU).ToFix("%s", fix)
	}
	if time.Since(began) > w.config.Wall {
		return sdk.Errorf(sdk.Timeout, q.subject(), "checking it takes too long").
			Because("more than %s", w.config.Wall).ToFix("%s, or try again when the server is less busy", fix)
	}
	return nil
}

// died returns the fault of a worker that ended during a request: by the
// kernel's limits, or by running out of stack or memory.
func (w *process) died(q request, err error) error {
	var f *sdk.Fault
	if errors.As(err, &f) {
		return f
	}
	return sdk.Errorf(sdk.Exhausted, q.subject(), "checking it ended the process that checks").
		Because("it went over a limit on memory, stack or processor time").
		ToFix("make it smaller: fewer generated values, no deep disjunctions")
}

// tickLength is the unit of CPU time in /proc: fixed at 1/100 s on Linux.
const tickLength = 10 * time.Millisecond

// cpu is the processor time the worker has used.
func (w *process) cpu() time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	// The name in the second field may hold anything, so fields count from its end.
	_, rest, ok := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(user+system) * tickLength
}
