package runc_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 1, "first seed of TestChaos")
	chaosSeeds = flag.Int("chaos.seeds", 2, "how many seeds TestChaos runs")
	chaosSteps = flag.Int("chaos.steps", 16, "steps of each")
)

// kind is a sort of container, and what its end may be when nobody signals it.
type kind struct {
	name   string
	script string
	code   int32 // how it ends by itself; -1: it does not
	oom    bool
	edit   func(s *isolation.Spec)
}

// Programs say on stderr that they were started, for that to be counted.
const begins = "echo begin >&2; "

var kinds = []kind{
	{name: "exit0", script: begins + "exit 0"},
	{name: "exit7", script: begins + "busybox usleep 30000; exit 7", code: 7},
	{name: "counts", script: begins + counter, code: -1},
	{name: "oom", script: begins + "exec busybox tail /dev/zero", code: 137, oom: true,
		edit: func(s *isolation.Spec) { s.Limits.Memory = 16 << 20 }},
	{name: "oomchild", script: begins + "busybox tail /dev/zero; exit 3", code: 3, oom: true,
		edit: func(s *isolation.Spec) { s.Limits.Memory = 16 << 20 }},
	{name: "sidecar", script: begins + counter, code: -1, edit: func(s *isolation.Spec) {
		s.Sidecars = []isolation.Program{sidecar("side", "trap 'exit 0' TERM; "+forever)}
	}},
	{name: "warm", script: begins + counter, code: -1, edit: func(s *isolation.Spec) { s.Warm = true }},
	{name: "warmexit", script: begins + "exit 5", code: 5, edit: func(s *isolation.Spec) { s.Warm = true }},
	{name: "disk", script: begins + counter, code: -1, edit: func(s *isolation.Spec) { s.Limits.Disk = 4 << 20 }},
	{name: "private", script: begins + counter, code: -1, edit: func(s *isolation.Spec) {
		s.PrivateNetwork = true
		s.Mounts = []isolation.Mount{{Name: "v", Path: "/v", Ephemeral: &sdk.EphemeralVolume{}}}
	}},
}

// life is what is known of a container without asking.
type life struct {
	kind
	spec *isolation.Spec
	// made, begun and gone: it was asked for, and the answer was yes. Where
	// the keeper went down before it answered, maybe is true instead.
	made, begun, gone                   bool
	maybeMade, maybeBegun, maybeRemoved bool
	undone                              bool  // a removal was begun, and not finished
	signals                             []int // sent or perhaps sent
	crashes                             int   // keepers that were lost since it may have begun and until its end was seen
	harsh                               int   // those of them that could not say good-bye
	exit                                *isolation.Exit
}

type chaos struct {
	*node
	rnd   *rand.Rand
	lives map[sdk.TaskID]*life
	next  int
	build byte
	did   []string
}

// TestChaos does what may happen to a node in any order, with keepers killed
// or replaced in the middle of it, and holds what is told of each container
// against what can have become of it.
func TestChaos(t *testing.T) {
	for i := range *chaosSeeds {
		seed := *chaosSeed + uint64(i)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			n := newNode(t)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute+time.Duration(*chaosSteps)*5*time.Second)
			t.Cleanup(cancel)
			n.ctx = ctx
			n.open()
			c := &chaos{node: n, rnd: rand.New(rand.NewPCG(seed, 0)), lives: map[sdk.TaskID]*life{}}
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("again with -chaos.seed %d -chaos.seeds 1 -chaos.steps %d; what was done:\n%s", seed, *chaosSteps, strings.Join(c.did, "\n"))
				}
			})
			for range *chaosSteps {
				c.step()
				c.look()
				if t.Failed() {
					return
				}
			}
			c.finish()
		})
	}
}

// step does a few things at once, and perhaps takes the keeper away meanwhile.
func (c *chaos) step() {
	var ops []func(*runc.Client)
	busy := map[*life]bool{}
	for range 1 + c.rnd.IntN(4) {
		if l, op := c.choose(busy); op != nil {
			busy[l] = true
			ops = append(ops, op)
		}
	}
	harm := c.rnd.IntN(8)
	after := time.Duration(c.rnd.IntN(60)) * time.Millisecond
	if c.rnd.IntN(3) == 0 {
		after /= 20
	}
	client := c.Client
	var all sync.WaitGroup
	for _, op := range ops {
		all.Go(func() { op(client) })
	}
	switch harm {
	case 0, 1, 2: // killed
		c.note("kill -9 after %v", after)
		time.Sleep(after)
		syscall.Kill(client.Info().PID, syscall.SIGKILL)
		all.Wait()
		c.lost(true)
		c.open()
	case 3: // replaced
		c.note("replace after %v", after)
		time.Sleep(after)
		c.build++
		c.cfg.Keeper = append(bytes.Clone(keeperELF), c.build)
		c.open()
		all.Wait()
		c.lost(false)
	case 4: // the agent starts anew
		c.note("open again")
		c.open()
		all.Wait()
	default:
		all.Wait()
	}
}

func (c *chaos) note(format string, args ...any) {
	c.did = append(c.did, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// lost notes that a keeper went, with what it had not yet told.
func (c *chaos) lost(harsh bool) {
	for _, l := range c.lives {
		if (l.begun || l.maybeBegun) && l.exit == nil {
			l.crashes++
			if harsh {
				l.harsh++
			}
		}
	}
}

// choose picks something to do with a container that nothing else is done with.
func (c *chaos) choose(busy map[*life]bool) (*life, func(*runc.Client)) {
	var free []*life
	for _, id := range slices.Sorted(maps.Keys(c.lives)) {
		if l := c.lives[id]; !busy[l] && !l.gone {
			free = append(free, l)
		}
	}
	if len(free) < 3 || len(free) < 9 && c.rnd.IntN(3) == 0 {
		c.next++
		k := kinds[c.rnd.IntN(len(kinds))]
		l := &life{kind: k, spec: c.spec(fmt.Sprintf("%d-%s", c.next, k.name), sh(k.script)...)}
		if k.edit != nil {
			k.edit(l.spec)
		}
		c.lives[l.spec.ID] = l
		c.note("create %s", l.spec.ID)
		return l, func(r *runc.Client) { c.answered(l, "create", r.Create(c.ctx, l.spec), &l.made, &l.maybeMade) }
	}
	l := free[c.rnd.IntN(len(free))]
	id := l.spec.ID
	switch {
	case !l.made && !l.maybeMade: // it was refused while the keeper went
		l.gone = true
		return l, nil
	case l.exit != nil || c.rnd.IntN(8) == 0 && !l.begun && !l.maybeBegun:
		c.note("remove %s", id)
		return l, func(r *runc.Client) { c.answered(l, "remove", r.Remove(c.ctx, id), &l.gone, &l.maybeRemoved) }
	case !l.begun && !l.maybeBegun:
		c.note("start %s", id)
		return l, func(r *runc.Client) { c.answered(l, "start", r.Start(c.ctx, id), &l.begun, &l.maybeBegun) }
	case l.begun && c.rnd.IntN(2) == 0:
		sig := []int{15, 9}[c.rnd.IntN(2)]
		if l.code >= 0 {
			sig = 9 // they have no handler
		}
		l.signals = append(l.signals, sig)
		c.note("signal %d %s", sig, id)
		return l, func(r *runc.Client) {
			err := r.Signal(c.ctx, id, sig, sig == 9)
			if k := sdk.KindOf(err); err != nil && k != sdk.NotFound && k != sdk.Unavailable {
				c.t.Errorf("signal %s: %v", id, err)
			}
		}
	}
	return l, nil
}

// answered keeps what was answered. No answer can mean either.
func (c *chaos) answered(l *life, what string, err error, yes, maybe *bool) {
	switch {
	case err == nil:
		*yes = true
	case sdk.KindOf(err) == sdk.Unavailable:
		*maybe = true
	default:
		c.t.Errorf("%s %s: %v", what, l.spec.ID, err)
	}
}

// look holds what is told against what can be.
func (c *chaos) look() {
	list, err := c.List(c.ctx)
	if err != nil {
		c.t.Fatalf("list: %v", err)
	}
	told := map[sdk.TaskID]isolation.Container{}
	for _, got := range list {
		told[got.ID] = got
		if c.lives[got.ID] == nil {
			c.t.Errorf("%s is told of, which nobody made", got.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.lives)) {
		got, there := told[id]
		c.holds(c.lives[id], got, there)
	}
}

func (c *chaos) holds(l *life, got isolation.Container, there bool) {
	id := l.spec.ID
	if !there {
		// What was prepared ahead and not begun goes with its keeper.
		unbegun := l.spec.Warm && !l.begun
		if l.made && !l.gone && !l.maybeRemoved && !unbegun {
			c.t.Errorf("%s is lost", id)
		}
		l.gone = true
		return
	}
	if l.gone {
		c.t.Errorf("%s is told of though it is gone: %+v", id, got)
		return
	}
	l.made, l.undone, l.maybeRemoved = true, l.undone || l.maybeRemoved, false
	switch {
	case got.State == isolation.Created:
		if l.begun {
			c.t.Errorf("%s has begun and is told of as created", id)
		}
		l.maybeBegun = false // it did not
	case got.State == isolation.Running:
		if !l.begun && !l.maybeBegun || l.exit != nil {
			c.t.Errorf("%s runs: %+v", id, l)
		}
		if !alive(got.PID) && len(l.signals) == 0 && l.code < 0 && !l.spec.Warm {
			c.t.Errorf("%s: process %d is gone", id, got.PID)
		}
		l.begun, l.maybeBegun = true, false
	case l.exit != nil:
		if *got.Exit != *l.exit {
			c.t.Errorf("%s: %+v was %+v", id, got.Exit, l.exit)
		}
	default:
		l.exit = got.Exit
		if err := l.can(got.Exit); err != "" {
			c.t.Errorf("%s: %+v: %s; %+v", id, got.Exit, err, l)
		}
	}
}

// can says what is wrong with such an end, "" for nothing.
func (l *life) can(e *isolation.Exit) string {
	killed := slices.Contains(l.signals, 9)
	termed := slices.Contains(l.signals, 15)
	began := l.begun || l.maybeBegun
	switch {
	case !e.Known && l.crashes == 0 && began:
		return "its keeper was there all the time"
	case !e.Known:
		if e.Code != 0 {
			return "a code that nobody knows"
		}
		return ""
	case e.Sidecar != "":
		return "no sidecar failed"
	case !began:
		if e.Code != 137 || !l.undone {
			return "it never began"
		}
	case l.code >= 0 && e.Code == l.code:
		if l.oom && !e.OOM && !(killed && l.code == 137) {
			return "nothing is said of memory"
		}
	case killed && e.Code == 137:
	// A shell has no handler before it has set it: as first process it ignores
	// the signal then.
	case l.code < 0 && termed && e.Code == 9:
	default:
		return "cannot be"
	}
	if e.OOM && !l.oom {
		return "it had memory enough"
	}
	return ""
}

// finish ends all that is left and looks at what was printed.
func (c *chaos) finish() {
	for _, id := range slices.Sorted(maps.Keys(c.lives)) {
		l := c.lives[id]
		if l.gone {
			continue
		}
		if c.find(id).State == isolation.Running {
			if l.code < 0 {
				l.signals = append(l.signals, 9, 15)
				if !strings.Contains(c.output(l.spec, logfile.Stdout), "3\n") {
					c.line(l.spec, "3\n")
				}
				c.Signal(c.ctx, id, 15, false)
			}
			c.end(id)
		}
	}
	c.look()
	for _, id := range slices.Sorted(maps.Keys(c.lives)) {
		c.printed(c.lives[id])
		if l := c.lives[id]; !l.gone {
			if err := c.Remove(c.ctx, id); err != nil {
				c.t.Errorf("remove %s: %v", id, err)
			}
		}
	}
	if list, err := c.List(c.ctx); err != nil || len(list) > 0 {
		c.t.Errorf("left: %v, %v", list, err)
	}
	for _, dir := range []string{"tasks", "runc"} {
		left, _ := filepath.Glob(filepath.Join(c.cfg.StateDir, dir, "*"))
		left = slices.DeleteFunc(left, func(name string) bool { return strings.HasPrefix(filepath.Base(name), ".warm-") })
		if len(left) > 0 {
			c.t.Errorf("left: %v", left)
		}
	}
}

// printed checks that a program began once at most, and that what it printed is
// there without a gap and once. A keeper that is killed between reading a part
// and writing it down takes that part with it, and what a program printed that
// ended between two keepers is gone with its pipe; nothing is ever there twice.
func (c *chaos) printed(l *life) {
	if _, err := filepath.Glob(l.spec.LogDir); err != nil || !l.begun {
		return
	}
	id := l.spec.ID
	begun := strings.Count(c.output(l.spec, logfile.Stderr), "begin\n")
	own := l.exit != nil && l.exit.Known && l.exit.Code != 137
	if begun > 1 || begun == 0 && own && l.crashes == 0 {
		c.t.Errorf("%s began %d times: %+v", id, begun, l.exit)
	}
	if l.code >= 0 {
		return
	}
	last, lost := -1, 0
	for line := range strings.Lines(c.output(l.spec, logfile.Stdout)) {
		var at int
		if _, err := fmt.Sscanf(line, "%d\n", &at); err != nil {
			if line != "end\n" && l.harsh == 0 && len(l.signals) == 0 {
				c.t.Errorf("%s printed %q after %d", id, line, last)
			}
			continue
		}
		if at <= last {
			c.t.Errorf("%s: %d after %d", id, at, last)
		}
		if at != last+1 {
			lost++
		}
		last = at
	}
	if lost > l.harsh {
		c.t.Errorf("%s: %d gaps in what it printed, with %d keepers killed", id, lost, l.harsh)
	}
}
