// Package check runs the health checks of a node's tasks: HTTP and TCP, from
// the node itself, so that a cluster of any size checks its tasks without
// traffic between machines.
//
// One goroutine knows what is due; a bounded number of tries run at a time.
package check

import (
	"container/heap"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Target is a running task to check.
type Target struct {
	Task    sdk.TaskID
	Host    string // where its ports are reached
	Ports   []sdk.PortBinding
	Checks  []sdk.Check
	Started sdk.Time
	// Health is what was known of it before, when the agent takes up a task
	// that ran already.
	Health sdk.Health
}

// Verdict is a change of a task's health.
type Verdict struct {
	Task   sdk.TaskID
	Health sdk.Health
	// Message says which check failed and how, when Unhealthy.
	Message string
}

// Runner checks tasks. Add and Remove may be called from any goroutine.
type Runner struct {
	say  func(Verdict)
	try  func(ctx context.Context, t *Target, c *sdk.Check) error
	free chan struct{} // a slot for each try that may run
	wake chan struct{}

	mu    sync.Mutex
	tasks map[sdk.TaskID]*subject
	due   queue
}

// subject is a task under checks.
type subject struct {
	target Target
	judges []judge
	said   sdk.Health
	ctx    context.Context
	end    context.CancelFunc
}

// turn is one check of one task that is due at a time.
type turn struct {
	at      time.Time
	subject *subject
	index   int
}

// New returns a runner that tries at most workers checks at a time and calls
// say, from several goroutines, with every change of health.
func New(workers int, say func(Verdict)) *Runner {
	return &Runner{say: say, try: try, free: make(chan struct{}, max(workers, 1)), wake: make(chan struct{}, 1),
		tasks: map[sdk.TaskID]*subject{}}
}

// Add starts the checks of a task; a second Add of the same task does nothing.
// A task without checks is healthy at once.
func (r *Runner) Add(t Target) {
	if len(t.Checks) == 0 {
		r.say(Verdict{Task: t.Task, Health: sdk.Healthy})
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tasks[t.Task] != nil {
		return
	}
	if t.Health == sdk.Unhealthy {
		t.Health = sdk.HealthUnknown
	}
	s := &subject{target: t, said: t.Health}
	s.ctx, s.end = context.WithCancel(context.Background())
	started, now := time.UnixMilli(int64(t.Started)), time.Now()
	for i := range t.Checks {
		s.judges = append(s.judges, newJudge(&t.Checks[i], started, t.Health))
		heap.Push(&r.due, turn{now, s, i})
	}
	r.tasks[t.Task] = s
	r.poke()
}

// Remove ends the checks of a task. A verdict that is just being said may still
// arrive.
func (r *Runner) Remove(id sdk.TaskID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.tasks[id]; s != nil {
		s.end()
		delete(r.tasks, id)
	}
}

func (r *Runner) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run tries what is due until ctx ends, then waits for the tries under way.
func (r *Runner) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		t, wait := r.next(time.Now())
		if t.subject == nil {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return
			case <-r.wake:
			case <-timer.C:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case r.free <- struct{}{}:
		}
		wg.Go(func() {
			defer func() { <-r.free }()
			r.turn(ctx, t)
		})
	}
}

// next takes the turn that is due, or returns how long to wait for it.
func (r *Runner) next(now time.Time) (turn, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.due) > 0 {
		t := r.due[0]
		if t.subject.ctx.Err() != nil {
			heap.Pop(&r.due)
			continue
		}
		if wait := t.at.Sub(now); wait > 0 {
			return turn{}, wait
		}
		heap.Pop(&r.due)
		return t, 0
	}
	return turn{}, time.Hour
}

// turn tries one check and says what changed by it.
func (r *Runner) turn(ctx context.Context, t turn) {
	s := t.subject
	tctx, cancel := context.WithTimeout(s.ctx, s.judges[t.index].timeout)
	defer context.AfterFunc(ctx, cancel)()
	err := r.try(tctx, &s.target, &s.target.Checks[t.index])
	if err != nil && tctx.Err() == context.DeadlineExceeded {
		err = fmt.Errorf("no answer within %v", s.judges[t.index].timeout)
	}
	cancel()
	r.mu.Lock()
	if s.ctx.Err() != nil || ctx.Err() != nil {
		r.mu.Unlock()
		return
	}
	at := s.judges[t.index].tried(time.Now(), err)
	heap.Push(&r.due, turn{at, s, t.index})
	r.poke()
	v, changed := s.verdict()
	r.mu.Unlock()
	if changed {
		r.say(v)
	}
}

// verdict sums the checks up: one that failed too often makes the task
// unhealthy, all passed make it healthy.
func (s *subject) verdict() (Verdict, bool) {
	v := Verdict{Task: s.target.Task, Health: sdk.Healthy}
	for i := range s.judges {
		switch j := &s.judges[i]; j.health {
		case sdk.Unhealthy:
			v.Health = sdk.Unhealthy
			v.Message = fmt.Sprintf("check %s failed %d times in a row: %s", s.target.Checks[i].Name, j.failed, j.why)
		case sdk.HealthUnknown:
			if v.Health == sdk.Healthy {
				v.Health = sdk.HealthUnknown
			}
		}
	}
	changed := v.Health != s.said && v.Health != sdk.HealthUnknown
	if changed {
		s.said = v.Health
	}
	return v, changed
}

// client makes one connection per check and keeps none: a check must see
// whether a new client gets through.
var client = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, Proxy: nil},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// try runs one check once.
func try(ctx context.Context, t *Target, c *sdk.Check) error {
	name := ""
	switch {
	case c.HTTP != nil:
		name = c.HTTP.Port
	case c.TCP != nil:
		name = c.TCP.Port
	}
	port := uint16(0)
	for _, p := range t.Ports {
		if p.Name == name {
			port = p.Port
		}
	}
	if port == 0 {
		return fmt.Errorf("the task has no port %q", name)
	}
	addr := net.JoinHostPort(t.Host, strconv.Itoa(int(port)))
	if c.TCP != nil {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/"+strings.TrimPrefix(c.HTTP.Path, "/"), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "drupe-check")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// queue is a heap of turns, the earliest first.
type queue []turn

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *queue) Push(x any) { *q = append(*q, x.(turn)) }

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = turn{}
	*q = old[:len(old)-1]
	return last
}
