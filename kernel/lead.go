package kernel

import (
	"time"

	"github.com/drupe-os/drupe/kernel/core"
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
				timer.Reset(again) // in case that failed
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
		k.loadPlugins()
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
	cmds, retry := k.turn.Next(k.ctx)
	if len(cmds) == 0 {
		k.mu.RLock()
		next := earlier(retry, k.state.Due())
		k.mu.RUnlock()
		switch wait := next.Sub(now()).Std(); {
		case next == 0:
			return time.Hour
		case wait > 0:
			return wait
		}
		// The state's clock has to move: an empty entry carries the time.
		if _, err := k.propose(k.ctx, "kernel"); err != nil {
			return again
		}
		return 0
	}
	if !k.commit(cmds) {
		k.turn.Lost(k.ctx)
		return again
	}
	return 0
}

// again is how long the leader waits after what it wanted could not be
// committed.
const again = 100 * time.Millisecond

// earlier returns the earlier of two moments, of which 0 is never.
func earlier(a, b sdk.Time) sdk.Time {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// commit commits a turn's commands and tells the turn what became of them.
func (k *Kernel) commit(cmds []core.Command) bool {
	results, err := k.proposeAll(k.ctx, "kernel", cmds)
	if err != nil {
		k.log.Warn("a turn was not committed", "error", err)
		return false
	}
	if more := k.turn.Committed(k.ctx, cmds, results); len(more) > 0 {
		k.propose(k.ctx, "kernel", more...)
	}
	return true
}
