// Package check runs the health checks of a node's tasks: HTTP, HTTPS, TCP, gRPC
// and commands, from the node itself, so that a cluster of any size checks its
// tasks without traffic between machines.
//
// One goroutine knows what is due; a bounded number of tries run at a time. A
// try that has to wait for its answer gives its place up, and checks that were
// slow the last time may take only part of the places for waiting: slow tasks
// do not hold up the checks of others.
package check

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
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
	// Message says which check failed and how, when Unhealthy or Unready.
	Message string
}

// Runner checks tasks. Add and Remove may be called from any goroutine.
type Runner struct {
	say  func(Verdict)
	try  func(ctx context.Context, t *Target, c *sdk.Check) error
	free chan struct{} // a slot for each try that may run
	// waits has a slot for each try that waits for its answer; once half are
	// taken, checks known to be slow are put off.
	waits chan struct{}
	// spread moves a wait a little, so that checks do not come in bursts.
	spread func(time.Duration) time.Duration
	wake   chan struct{}

	mu    sync.Mutex
	tasks map[sdk.TaskID]*subject
	due   queue
}

// subject is a task under checks.
type subject struct {
	target Target
	judges []judge
	said   sdk.Health
	slow   []bool // by check: its last try had to wait
	ctx    context.Context
	end    context.CancelFunc
}

// turn is one check of one task that is due at a time.
type turn struct {
	at      time.Time
	subject *subject
	index   int
}

// Exec runs a program in a task's own container and returns its exit code.
type Exec func(ctx context.Context, id sdk.TaskID, command []string) (int32, error)

// A try that lasts longer than quick waits, and is put off by putOff while too
// many do; maxWaits may wait at a time.
const (
	quick    = 250 * time.Millisecond
	putOff   = 250 * time.Millisecond
	maxWaits = 1024
)

// New returns a runner that works on at most workers checks at a time and calls
// say, from several goroutines, with every change of health. exec runs command
// checks.
func New(workers int, exec Exec, say func(Verdict)) *Runner {
	return &Runner{say: say, try: tries{exec}.try, free: make(chan struct{}, max(workers, 1)), waits: make(chan struct{}, maxWaits),
		spread: jitter, wake: make(chan struct{}, 1), tasks: map[sdk.TaskID]*subject{}}
}

// jitter returns d, give or take a tenth.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
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
	if t.Health == sdk.Unhealthy || t.Health == sdk.Unready {
		t.Health = sdk.HealthUnknown
	}
	s := &subject{target: t, said: t.Health, slow: make([]bool, len(t.Checks))}
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
		if r.slow(t) {
			// It takes no worker's place, so that it costs the others nothing.
			if len(r.waits) >= cap(r.waits)/2 {
				r.again(t, time.Now().Add(putOff))
				continue
			}
			r.waits <- struct{}{}
			wg.Go(func() {
				defer func() { <-r.waits }()
				began := time.Now()
				r.turn(ctx, t, func() bool { return time.Since(began) >= quick })
			})
			continue
		}
		select {
		case <-ctx.Done():
			return
		case r.free <- struct{}{}:
		}
		wg.Go(func() { r.place(ctx, t) })
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

func (r *Runner) slow(t turn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.subject.slow[t.index]
}

// again makes the check due at a time.
func (r *Runner) again(t turn, at time.Time) {
	r.mu.Lock()
	heap.Push(&r.due, turn{at, t.subject, t.index})
	r.mu.Unlock()
}

// place takes a turn. The place it has been given is given up when the turn
// ends, or once it waits and there is a place for that.
func (r *Runner) place(ctx context.Context, t turn) {
	done, left := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(left)
		timer := time.NewTimer(quick)
		defer timer.Stop()
		select {
		case <-done:
			<-r.free
			return
		case <-timer.C:
		}
		select {
		case <-done:
			<-r.free
		case r.waits <- struct{}{}:
			<-r.free
			<-done
			<-r.waits
		}
	}()
	began := time.Now()
	r.turn(ctx, t, func() bool { return time.Since(began) >= quick })
	close(done)
	<-left
}

// turn tries one check and says what changed by it.
func (r *Runner) turn(ctx context.Context, t turn, waited func() bool) {
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
	s.slow[t.index] = waited()
	now := time.Now()
	at := now.Add(r.spread(s.judges[t.index].tried(now, err).Sub(now)))
	heap.Push(&r.due, turn{at, s, t.index})
	r.poke()
	v, changed := s.verdict()
	r.mu.Unlock()
	if changed {
		r.say(v)
	}
}

// verdict sums the checks up: one that failed too often makes the task
// unhealthy, or unready if it is about readiness; all passed make it healthy.
func (s *subject) verdict() (Verdict, bool) {
	v := Verdict{Task: s.target.Task, Health: sdk.Healthy}
	for i := range s.judges {
		switch j := &s.judges[i]; j.health {
		case sdk.Unhealthy:
			if s.target.Checks[i].Readiness {
				if v.Health == sdk.Unhealthy {
					continue
				}
				v.Health = sdk.Unready
			} else {
				v.Health = sdk.Unhealthy
			}
			v.Message = fmt.Sprintf("check %s failed %d times in a row: %s", s.target.Checks[i].Name, j.failed, j.why)
		case sdk.HealthUnknown:
			if v.Health == sdk.Healthy {
				v.Health = sdk.HealthUnknown
			}
		}
	}
	if v.Health == sdk.Healthy {
		v.Message = ""
	}
	changed := v.Health != s.said && v.Health != sdk.HealthUnknown
	if changed {
		s.said = v.Health
	}
	return v, changed
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
