package kernel

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/kernel/host"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// Policy is an instance of a policy plugin. An instance that returned an error
// is not called again.
type Policy interface {
	Allocate(ctx context.Context, b *policy.Batch, ix policy.Index) error
	Close(ctx context.Context) error
}

// Framework is an instance of a framework plugin, called from one goroutine. An
// instance that returned an error is not called again.
type Framework interface {
	Start(ctx context.Context, w *sdk.World) (*sdk.FrameworkAnswer, error)
	Call(ctx context.Context, now sdk.Time, events []sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error)
	Close(ctx context.Context) error
}

// Loader makes instances of installed plugins.
type Loader interface {
	Policy(ctx context.Context, p *sdk.Plugin) (Policy, error)
	Framework(ctx context.Context, p *sdk.Plugin) (Framework, error)
}

// The bounds of one turn.
const (
	eventsPerCall  = 4096 // told to one framework at once
	placesPerTurn  = 4096 // instances placed: some tens of milliseconds of a sandboxed policy
	roundsInARow   = 8    // before frameworks are told of what was placed
	failuresToQuit = 5    // failed calls in a row after which a plugin is quarantined
	refusalsToQuit = 20   // refused answers in a row after which one is
	answerSize     = 32 << 20
	firstRetry     = 100 * sdk.Millisecond
)

// Turn is what a leader does over and over: tell the frameworks what happened,
// place what is wanted, and so make the commands of the next entry. The server
// drives it from its loop, the simulator from its event queue.
type Turn struct {
	// State returns the state; Lock is held while it is looked at.
	State  func() *core.State
	Lock   sync.Locker
	Loader Loader
	// Logf is told of what plugins log and how they fail.
	Logf func(plugin sdk.PluginName, line string)
	// Clock counts microseconds; Calls is told how many a call took. Both may
	// be nil.
	Clock func() int64
	Calls func(plugin sdk.PluginName, micros int64)

	guests map[sdk.PluginName]*guest
	room   bool
	full   bool // the last round ended at its bound
	rush   int  // rounds in a row before frameworks were told
}

// guest is the instance of one plugin and its record.
type guest struct {
	generation uint64
	policy     Policy
	framework  Framework
	seen       uint64   // events a fresh framework knows from its World
	failures   int      // in a row
	refusals   int      // in a row
	retry      sdk.Time // not called before
}

// Room tells the turn that something may be placed that could not be before.
// Lock is held.
func (t *Turn) Room() { t.room = true }

// Next makes the next commands. Both lists are to be committed together, calls
// first; Committed must be called with the outcome. Wake is when to come again
// although nothing happened, 0 for never.
func (t *Turn) Next(ctx context.Context) (cmds []core.Command, wake sdk.Time) {
	if t.guests == nil {
		t.guests = map[sdk.PluginName]*guest{}
	}
	var commits []core.FrameworkCommit
	t.Lock.Lock()
	names, now := t.State().Frameworks(), t.State().Now()
	t.Lock.Unlock()
	if t.full && t.rush < roundsInARow {
		// More can be placed: that comes first. To be told can wait a little.
		t.rush++
		names = nil
	} else {
		t.rush = 0
	}
	for _, name := range names {
		commit, reject, retry := t.tell(ctx, name, now)
		if commit != nil {
			commits = append(commits, *commit)
		}
		if reject != nil {
			cmds = append(cmds, core.Command{Reject: reject})
		}
		if retry != 0 && (wake == 0 || retry < wake) {
			wake = retry
		}
	}
	for i := range commits {
		cmds = append(cmds, core.Command{Framework: &commits[i]})
	}
	placed, retry := t.place(ctx, commits, now)
	if retry != 0 && (wake == 0 || retry < wake) {
		wake = retry
	}
	return append(cmds, placed...), wake
}

// tell calls one framework, if it has anything to hear.
func (t *Turn) tell(ctx context.Context, name sdk.PluginName, now sdk.Time) (*core.FrameworkCommit, *core.RejectPlugin, sdk.Time) {
	t.Lock.Lock()
	s := t.State()
	p, err := s.Plugin(name)
	if err != nil {
		t.Lock.Unlock()
		return nil, nil, 0
	}
	g := t.guest(ctx, &p)
	if g.retry > now {
		t.Lock.Unlock()
		return nil, nil, g.retry
	}
	var world *sdk.World
	var events []sdk.FrameworkEvent
	fresh := g.framework == nil
	if fresh {
		world, g.seen = s.World(name), s.NewestEvent(name)
	} else if events = slices.Clone(s.Inbox(name, eventsPerCall)); len(events) == 0 {
		t.Lock.Unlock()
		return nil, nil, 0
	}
	t.Lock.Unlock()

	commit := &core.FrameworkCommit{Plugin: name, Generation: p.Generation, Seen: g.seen}
	if fresh {
		if g.framework, err = t.Loader.Framework(ctx, &p); err != nil {
			return nil, t.failed(ctx, g, &p, now, err), g.retry
		}
	}
	begin := t.clock()
	var answer *sdk.FrameworkAnswer
	if fresh {
		answer, err = g.framework.Start(ctx, world)
	} else {
		answer, err = g.framework.Call(ctx, now, events)
		commit.Consumed = events[len(events)-1].Seq
	}
	t.called(name, begin)
	if err != nil {
		return nil, t.failed(ctx, g, &p, now, err), g.retry
	}
	for _, line := range answer.Logs {
		t.Logf(name, line)
	}
	if err := checkSize(name, answer); err != nil {
		return nil, t.failed(ctx, g, &p, now, err), g.retry
	}
	commit.Actions = answer.Actions
	if fresh && len(commit.Actions) == 0 {
		return t.tell(ctx, name, now) // there is nothing to commit; its events wait
	}
	return commit, nil, 0
}

// checkSize proves that the log can hold an answer. Errors: *host.CallError.
func checkSize(name sdk.PluginName, a *sdk.FrameworkAnswer) error {
	total := 0
	for i := range a.Actions {
		n := a.Actions[i].Msgsize()
		if n > core.MaxAction {
			b, err := a.Actions[i].MarshalMsg(nil)
			if n = len(b); err != nil || n > core.MaxAction {
				return &host.CallError{Plugin: name, Reason: sdk.ReasonAnswerTooLong,
					Detail: fmt.Sprintf("action %d takes %d bytes, more than %d", i, n, core.MaxAction)}
			}
		}
		if total += n; total > answerSize {
			return &host.CallError{Plugin: name, Reason: sdk.ReasonAnswerTooLong,
				Detail: fmt.Sprintf("its answer takes more than %d bytes", answerSize)}
		}
	}
	return nil
}

// place runs the policy over what is wanted, together with what commits are
// about to want.
func (t *Turn) place(ctx context.Context, commits []core.FrameworkCommit, now sdk.Time) ([]core.Command, sdk.Time) {
	t.Lock.Lock()
	defer t.Lock.Unlock()
	t.full = false
	wants := t.room
	for i := range commits {
		wants = wants || slices.ContainsFunc(commits[i].Actions, func(a sdk.Action) bool { return a.Demand != nil })
	}
	if !wants {
		return nil, 0
	}
	s := t.State()
	name, _ := s.Policy()
	p, err := s.Plugin(name)
	if err != nil {
		return nil, 0 // no policy: demands wait, and Explain says so
	}
	g := t.guest(ctx, &p)
	if g.retry > now {
		return nil, g.retry
	}
	r, demands := s.Round(placesPerTurn, commits)
	t.room = false
	if r == nil {
		return nil, 0
	}
	defer r.Close()
	if g.policy == nil {
		if g.policy, err = t.Loader.Policy(ctx, &p); err != nil {
			t.room = true
			return rejected(t.failed(ctx, g, &p, now, err)), g.retry
		}
	}
	begin := t.clock()
	err = g.policy.Allocate(ctx, &r.Batch, r)
	t.called(name, begin)
	if err != nil {
		t.room = true
		return rejected(t.failed(ctx, g, &p, now, err)), g.retry
	}
	g.failures = 0
	t.room, t.full = r.Full, r.Full
	if out := s.Outcome(r, demands); out != nil {
		return []core.Command{{Place: out}}, 0
	}
	return nil, 0
}

func rejected(r *core.RejectPlugin) []core.Command { return []core.Command{{Reject: r}} }

// guest returns the record of a plugin's instance, a new one when another
// version was installed.
func (t *Turn) guest(ctx context.Context, p *sdk.Plugin) *guest {
	g := t.guests[p.Manifest.Name]
	if g == nil || g.generation != p.Generation {
		if g != nil {
			g.discard(ctx)
		}
		g = &guest{generation: p.Generation}
		t.guests[p.Manifest.Name] = g
	}
	return g
}

// discard closes an instance; the next call makes a new one.
func (g *guest) discard(ctx context.Context) {
	if g.policy != nil {
		g.policy.Close(ctx)
		g.policy = nil
	}
	if g.framework != nil {
		g.framework.Close(ctx)
		g.framework = nil
	}
}

// failed notes a failed call: the instance is discarded, the next one waits a
// little, and after too many in a row the plugin is quarantined.
func (t *Turn) failed(ctx context.Context, g *guest, p *sdk.Plugin, now sdk.Time, err error) *core.RejectPlugin {
	g.discard(ctx)
	g.retry = now.Add(firstRetry << min(g.failures, 6))
	g.failures, g.refusals = g.failures+1, 0
	t.Logf(p.Manifest.Name, "failed: "+err.Error())
	r := &core.RejectPlugin{Plugin: p.Manifest.Name, Generation: p.Generation, Reason: sdk.ReasonTrap, Message: err.Error(),
		Quarantine: g.failures >= failuresToQuit}
	if why := host.ReasonOf(err); why != sdk.ReasonNone {
		r.Reason = why
	}
	return r
}

// Committed tells the turn what became of its commands. A framework whose
// answer was refused is told so by its next event and goes on: it knows best
// what to take back. The returned commands quarantine those that are refused
// again and again.
func (t *Turn) Committed(ctx context.Context, cmds []core.Command, results []core.Result) []core.Command {
	var out []core.Command
	for i := range cmds {
		c := cmds[i].Framework
		if c == nil || i >= len(results) {
			continue
		}
		g := t.guests[c.Plugin]
		if g == nil || g.generation != c.Generation {
			continue
		}
		if results[i].Fault == nil {
			g.refusals = 0
			if c.Consumed > 0 { // a start alone proves little
				g.failures = 0
			}
			continue
		}
		t.Logf(c.Plugin, "refused: "+results[i].Fault.Error())
		if g.refusals++; g.refusals >= refusalsToQuit {
			g.discard(ctx)
			out = append(out, core.Command{Reject: &core.RejectPlugin{Plugin: c.Plugin, Generation: c.Generation,
				Reason: sdk.ReasonAnswerInvalid, Message: results[i].Fault.Error(), Quarantine: true}})
		}
	}
	return out
}

// Lost tells the turn that it is not known what became of its commands: all
// frameworks start anew from what is committed.
func (t *Turn) Lost(ctx context.Context) {
	for _, g := range t.guests {
		g.discard(ctx)
	}
	t.Lock.Lock()
	t.room = true
	t.Lock.Unlock()
}

func (t *Turn) clock() int64 {
	if t.Clock == nil {
		return 0
	}
	return t.Clock()
}

func (t *Turn) called(name sdk.PluginName, begin int64) {
	if t.Calls != nil {
		t.Calls(name, t.clock()-begin)
	}
}
