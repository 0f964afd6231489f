package kernel

import (
	"io"
	"slices"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// machine is the kernel as the log sees it.
type machine struct{ k *Kernel }

// Apply applies committed entries and sends out what follows.
func (m machine) Apply(indexes []uint64, data [][]byte) []any {
	k := m.k
	out := make([]any, len(data))
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, b := range data {
		out[i] = k.applyEntry(indexes[i], b)
	}
	k.follow(k.state.TakeChanges())
	return out
}

// applyEntry returns the entry's []core.Result, or an error.
func (k *Kernel) applyEntry(index uint64, b []byte) any {
	if k.fatal != nil {
		return k.fatal
	}
	var e core.Entry
	if err := wire.Decode(b, &e); err != nil {
		return k.die(index, err)
	}
	results, err := k.state.Apply(index, &e)
	if err != nil {
		return k.die(index, err)
	}
	return results
}

// die stops this server's state machine: to go on with books that do not
// balance would do harm.
func (k *Kernel) die(index uint64, err error) error {
	k.fatal = sdk.Errorf(sdk.Internal, "server", "stopped at index %d: %v", index, err).
		ToFix("keep the data folder and report this; the other servers go on")
	k.log.Error("the state no longer adds up", "index", index, "error", err)
	return k.fatal
}

// follow sends out what applying entries changed. The lock is held, so that
// what is sent is in the order of the log.
func (k *Kernel) follow(c core.Changes) {
	k.events.Publish(c.Events)
	k.usages.follow(c.Events)
	for _, m := range k.state.Tell(&c) {
		k.cfg.Agents.Send(m.Node, m.Desired)
	}
	if c.Room {
		k.turn.Room()
	}
	k.wake()
}

// Snapshot captures the state.
func (m machine) Snapshot() (func(io.Writer) error, error) {
	m.k.mu.RLock()
	defer m.k.mu.RUnlock()
	// Encoding here keeps Apply waiting, copying every table would as well.
	b, err := m.k.state.Snapshot().MarshalMsg(nil)
	if err != nil {
		return nil, err
	}
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}, nil
}

// Restore replaces the state.
func (m machine) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var snap core.Snapshot
	if err := wire.Decode(b, &snap); err != nil {
		return err
	}
	s, err := core.Restore(&snap)
	if err != nil {
		return err
	}
	m.k.mu.Lock()
	defer m.k.mu.Unlock()
	m.k.state = s
	m.k.events.Reset(s.Index())
	m.k.usages.clear()
	m.k.turn.Room()
	return nil
}

// wake has the leader's loop look again.
func (k *Kernel) wake() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// collect copies what an iterator yields.
func collect[T any](seq func(yield func(T) bool)) []T { return slices.Collect(seq) }
