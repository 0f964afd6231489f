package replica

import (
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Machine is the state that the log drives. Its methods are called from one
// goroutine, in log order, on every server.
type Machine interface {
	// Apply takes committed entries: data[i] was committed at indexes[i], and
	// indexes rise. It returns one result for each, which reaches the proposer
	// if the entry was proposed here. The slices in data may be kept, not
	// changed.
	Apply(indexes []uint64, data [][]byte) []any
	// Snapshot captures the state quickly; what it returns then writes it out
	// while Apply goes on.
	Snapshot() (func(w io.Writer) error, error)
	// Restore replaces the state by a snapshot. An error means the state is not
	// usable and the server does not start.
	Restore(r io.Reader) error
}

// fsm fits a Machine to raft.
type fsm struct {
	m       Machine
	applied atomic.Uint64
	bytes   atomic.Int64  // entries applied since the last snapshot
	limit   int64         // of bytes
	full    chan struct{} // told when limit is passed
	failed  atomic.Pointer[error]

	indexes []uint64
	data    [][]byte
}

func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	f.indexes, f.data = f.indexes[:0], f.data[:0]
	size := int64(0)
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			f.indexes = append(f.indexes, l.Index)
			f.data = append(f.data, l.Data)
		}
		size += int64(len(l.Data)) + entryHeader
	}
	if len(f.data) > 0 {
		results := f.m.Apply(f.indexes, f.data)
		i := 0
		for j, l := range logs {
			if l.Type == raft.LogCommand && i < len(results) {
				out[j] = results[i]
				i++
			}
		}
		clear(f.data) // the machine may keep entries, we must not
	}
	f.applied.Store(logs[len(logs)-1].Index)
	if f.bytes.Add(size) > f.limit {
		select {
		case f.full <- struct{}{}:
		default:
		}
	}
	return out
}

func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	write, err := f.m.Snapshot()
	if err != nil {
		return nil, err
	}
	f.bytes.Store(0)
	return capture(write), nil
}

func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	err := f.m.Restore(r)
	if err != nil {
		f.failed.Store(&err)
	}
	return err
}

// capture is a state waiting to be written.
type capture func(w io.Writer) error

func (c capture) Persist(s raft.SnapshotSink) error {
	if err := c(s); err != nil {
		s.Cancel()
		return err
	}
	return s.Close()
}

func (capture) Release() {}
