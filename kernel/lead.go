package kernel

import (
	"time"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/kernel/replica"
	"github.com/drupe-os/drupe/sdk"
)

// lead runs turns while this server is the leader.
func (k *Kernel) lead() {
	leadership := k.replica.Leader()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-k.ctx.Done():
			k.turn.Lost(k.ctx)
			return
		case is := <-leadership:
			k.becomes(is)
		case <-k.kick:
		case <-timer.C:
		}
		if !k.isLeader() {
			if k.replica.IsLeader() {
				k.becomes(true)
			}
			continue
		}
		timer.Reset(k.takeTurn())
	}
}

func (k *Kernel) isLeader() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.leader && k.fatal == nil
}

// becomes begins or ends leadership. A new leader first applies all that was
// committed before it.
func (k *Kernel) becomes(leader bool) {
	if leader == k.isLeader() {
		return
	}
	if leader {
		if err := k.replica.Barrier(k.ctx); err != nil {
			k.log.Warn("cannot lead yet", "error", err)
			return
		}
		if err := k.installBuiltin(); err != nil {
			k.log.Error("built-in plugins cannot be installed", "error", err)
		}
	}
	k.turn.Lost(k.ctx)
	k.mu.Lock()
	k.leader = leader
	k.mu.Unlock()
	k.log.Info("leadership", "leader", leader)
	if leader {
		k.wg.Go(k.missNodes)
		k.wake()
	}
}

// takeTurn lets the plugins act on what happened, commits what they want, and
// returns how long to wait if nothing else happens.
func (k *Kernel) takeTurn() time.Duration {
	cmds, again := k.turn.Next(k.ctx)
	if len(cmds) == 0 {
		k.mu.RLock()
		due := k.state.Due()
		k.mu.RUnlock()
		if due != 0 && due <= now() {
			k.propose(k.ctx, "kernel") // an empty entry carries the time
			return 0
		}
		return until(again, due)
	}
	if !k.commit(cmds) {
		k.turn.Lost(k.ctx)
		return 100 * time.Millisecond
	}
	return 0
}

// until is the time from now to the earlier of two moments; 0 is never.
func until(a, b sdk.Time) time.Duration {
	if a == 0 || b != 0 && b < a {
		a = b
	}
	if a == 0 {
		return time.Hour
	}
	return max(0, a.Sub(now()).Std())
}

// commit proposes a turn's commands, in as few entries as their size allows,
// and tells the turn what became of them.
func (k *Kernel) commit(cmds []core.Command) bool {
	var futures []replica.Future
	for begin := 0; begin < len(cmds); {
		end, size := begin, 0
		for end < len(cmds) && (end == begin || size+cmds[end].Msgsize() < entrySize) {
			size += cmds[end].Msgsize()
			end++
		}
		f, err := k.send("kernel", cmds[begin:end])
		if err != nil {
			k.log.Error("a turn cannot be committed", "error", err)
			return false
		}
		futures = append(futures, f)
		begin = end
	}
	var results []core.Result
	for _, f := range futures {
		r, err := wait(k.ctx, f)
		if err != nil {
			k.log.Warn("a turn was not committed", "error", err)
			return false
		}
		results = append(results, r...)
	}
	if more := k.turn.Committed(k.ctx, cmds, results); len(more) > 0 {
		k.propose(k.ctx, "kernel", more...)
	}
	return true
}

// entrySize is what an entry of a turn should stay below, in the codec's upper
// estimate, which is a few times the size in the end.
const entrySize = 512 << 10
