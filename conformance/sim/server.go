package sim

import (
	"context"
	"sync"

	"github.com/drupe-os/drupe/kernel"
	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// server is the simulated server: the real core behind a log that takes a
// moment to commit, and a process that may crash at any time.
type server struct {
	*Sim
	ctx     context.Context
	state   *core.State
	twin    *core.State // applies the same entries and never restarts
	log     [][]byte    // committed
	base    []byte      // snapshot under the log, nil for none
	offset  uint64      // entries before the log
	turn    *kernel.Turn
	life    int // rises with each crash; what an earlier life had in hand is lost
	up      bool
	busy    bool // a turn's commands are on their way
	kicked  bool
	wake    sdk.Time
	crashes int
	session uint64
	nodes   map[sdk.NodeID]*agent // with a session
}

func newServer(ctx context.Context, s *Sim) *server {
	v := &server{Sim: s, ctx: ctx, state: core.New(), twin: core.New(), up: true, nodes: map[sdk.NodeID]*agent{}}
	v.newTurn()
	return v
}

func (v *server) newTurn() {
	v.turn = &kernel.Turn{State: func() *core.State { return v.state }, Lock: &sync.Mutex{}, Loader: v.cfg.Loader,
		Logf: func(p sdk.PluginName, line string) { v.logf("plugin %s: %s", p, line) }}
	v.busy, v.kicked = false, false
}

func (v *server) index() uint64 { return v.offset + uint64(len(v.log)) }

func (v *server) stop() { v.turn.Lost(v.ctx) }

// propose commits commands after a moment and tells done, unless the server
// crashes before.
func (v *server) propose(by string, done func([]core.Result), cmds ...core.Command) {
	life := v.life
	e := core.Entry{Time: v.now, By: by, Commands: cmds}
	b, err := e.MarshalMsg(nil)
	if err != nil {
		v.fail("encode: %v", err)
		return
	}
	v.after(1, func() {
		if v.life != life || !v.up {
			return
		}
		v.log = append(v.log, b)
		results := v.apply(v.index(), b)
		if done != nil {
			done(results)
		}
	})
}

// apply applies one committed entry and carries out what follows.
func (v *server) apply(index uint64, b []byte) []core.Result {
	var e core.Entry
	if err := wire.Decode(b, &e); err != nil {
		v.fail("decode: %v", err)
		return nil
	}
	results, err := v.state.Apply(index, &e)
	if err != nil {
		v.fail("%v", err)
		return nil
	}
	if _, err := v.twin.Apply(index, &e); err != nil {
		v.fail("%v", err)
	}
	v.twin.TakeChanges()
	if v.cfg.Deep || index%64 == 0 {
		v.prove()
	}
	changes := v.state.TakeChanges()
	v.auditor.committed(changes.Events)
	for _, m := range v.state.Tell(&changes) {
		if a := v.nodes[m.Node]; a != nil {
			a.receive(a.session, m.Desired)
		}
	}
	if changes.Room {
		v.turn.Room()
	}
	v.kick()
	return results
}

// prove proves all books, and that a server that restarted is where one is that
// never did.
func (v *server) prove() {
	if err := v.state.Check(); err != nil {
		v.fail("%v", err)
	}
	if err := v.state.CheckLimits(); err != nil {
		v.fail("%v", err)
	}
	if v.state.Hash() != v.twin.Hash() {
		v.fail("two replicas differ after the same entries")
	}
}

// kick has the leader take a turn soon.
func (v *server) kick() {
	if v.kicked || !v.up {
		return
	}
	v.kicked = true
	life := v.life
	v.after(0, func() {
		if v.life == life && v.up {
			v.kicked = false
			v.takeTurn()
		}
	})
}

func (v *server) takeTurn() {
	if v.busy {
		return
	}
	cmds, again := v.turn.Next(v.ctx)
	if len(cmds) == 0 {
		v.sleep(again)
		return
	}
	v.busy = true
	v.propose("kernel", func(results []core.Result) {
		v.busy = false
		if more := v.turn.Committed(v.ctx, cmds, results); len(more) > 0 {
			v.propose("kernel", nil, more...)
		}
		v.kick()
	}, cmds...)
}

// sleep sees to it that the next moment at which time alone matters is not
// missed.
func (v *server) sleep(again sdk.Time) {
	due := v.state.Due()
	if again != 0 && (due == 0 || again < due) {
		due = again
	}
	if due == 0 || v.wake != 0 && v.wake <= due && v.wake > v.now {
		return
	}
	v.wake = max(due, v.now+1)
	life := v.life
	v.after(v.wake.Sub(v.now), func() {
		if v.life == life && v.up {
			v.propose("kernel", nil)
		}
	})
}

// crash ends the server's process; what was not committed is lost.
func (v *server) crash(down sdk.Duration) {
	if !v.up {
		return
	}
	v.logf("server crashes at index %d for %s", v.index(), down)
	v.crashes++
	v.life++
	v.up = false
	v.wake = 0
	v.turn.Lost(v.ctx)
	for _, a := range v.agents {
		a.disconnect()
	}
	clear(v.nodes)
	v.after(down, v.restart)
}

// restart reads snapshot and log again. The state must be what it was.
func (v *server) restart() {
	before := v.state.Hash()
	v.state = v.read()
	if v.failure != nil {
		return
	}
	if after := v.state.Hash(); after != before {
		v.fail("a restart changed the state: %s before, %s after", before, after)
		return
	}
	if v.chance(500) {
		v.compact()
	}
	v.up = true
	v.newTurn()
	v.turn.Room()
	v.kick()
	v.missNodes()
}

// read makes the state from what is on disk.
func (v *server) read() *core.State {
	st := core.New()
	if v.base != nil {
		var snap core.Snapshot
		if err := wire.Decode(v.base, &snap); err != nil {
			v.fail("snapshot: %v", err)
			return v.state
		}
		var err error
		if st, err = core.Restore(&snap); err != nil {
			v.fail("snapshot: %v", err)
			return v.state
		}
	}
	for i, b := range v.log {
		var e core.Entry
		if err := wire.Decode(b, &e); err != nil {
			v.fail("log: %v", err)
			return v.state
		}
		if _, err := st.Apply(v.offset+uint64(i)+1, &e); err != nil {
			v.fail("replay: %v", err)
			return v.state
		}
	}
	st.TakeChanges()
	return st
}

// compact replaces the log by a snapshot.
func (v *server) compact() {
	b, err := v.state.Snapshot().MarshalMsg(nil)
	if err != nil {
		v.fail("snapshot: %v", err)
		return
	}
	v.base, v.offset, v.log = b, v.index(), nil
}

// grace is how long a node may be without a session.
const grace = 3 * sdk.Second

// missNodes declares nodes unreachable that do not come back.
func (v *server) missNodes() {
	life := v.life
	v.after(3*grace, func() {
		if v.life != life {
			return
		}
		for _, n := range v.state.LiveNodes() {
			if v.nodes[n] == nil {
				v.propose("kernel", nil, core.Command{Liveness: &core.SetLiveness{Node: n, Liveness: sdk.NodeUnreachable}})
			}
		}
	})
}

// connect begins a session. The answer is the whole of what the node should
// run.
func (v *server) connect(a *agent, known []sdk.TaskStatus) {
	if !v.up {
		return
	}
	v.session++
	session := v.session
	v.propose("agent", func(r []core.Result) {
		if len(r) == 0 || r[0].Fault != nil || !a.linked() {
			return
		}
		a.session = session
		v.nodes[a.id] = a
		a.receive(session, v.state.Desired(a.id))
	}, core.Command{Connect: &core.ConnectNode{Node: a.id, Name: a.name, Machine: a.machine, Tasks: known}})
}

// machine takes in what a machine has become. What is lost on the way the next
// session brings.
func (v *server) machine(a *agent, session uint64, m sdk.Machine) {
	if !v.up || v.nodes[a.id] == nil || a.session != session {
		return
	}
	v.propose("agents", nil, core.Command{Machine: &core.SetMachine{Node: a.id, Machine: m}})
}

// report takes in statuses; they are acknowledged when committed.
func (v *server) report(a *agent, session uint64, statuses []sdk.TaskStatus) {
	if !v.up || v.nodes[a.id] == nil || a.session != session {
		return
	}
	v.propose("agents", nil, core.Command{Report: &core.ReportStatuses{Node: a.id, Statuses: statuses}})
}

// lost is told that a session ended.
func (v *server) lost(a *agent, session uint64) {
	if !v.up || v.nodes[a.id] == nil || a.session != session {
		return
	}
	delete(v.nodes, a.id)
	life := v.life
	v.after(grace, func() {
		if v.life == life && v.nodes[a.id] == nil {
			v.propose("kernel", nil, core.Command{Liveness: &core.SetLiveness{Node: a.id, Liveness: sdk.NodeUnreachable}})
		}
	})
}
