package host

import (
	"context"
	"sync/atomic"

	"github.com/tetratelabs/wazero"

	"github.com/drupe-os/drupe/sdk"
)

// Module is an installed, compiled plugin. It is safe for concurrent use.
type Module struct {
	host     *Host
	manifest sdk.Manifest
	limits   sdk.PluginLimits
	digest   sdk.Digest
	size     int64
	runtime  wazero.Runtime
	code     wazero.CompiledModule
	counters counters
}

type counters struct {
	calls, rejected, instances, linesDropped   atomic.Uint64
	trap, deadline, memory, tooLong, badAnswer atomic.Uint64
}

// Stats are counts since the install.
type Stats struct {
	Calls        uint64 // of policies and frameworks, refused ones included
	Rejected     uint64 // refused calls: the sum of the five below
	Trap         uint64
	Deadline     uint64
	Memory       uint64
	TooLong      uint64
	BadAnswer    uint64
	Instances    uint64 // made so far
	LinesDropped uint64 // of the log, for being too many
}

// Manifest returns what the module says it is.
func (m *Module) Manifest() sdk.Manifest { return m.manifest }

// Limits returns the limits that hold for it, defaults filled in.
func (m *Module) Limits() sdk.PluginLimits { return m.limits }

// Digest returns the content address of the module as it was installed.
func (m *Module) Digest() sdk.Digest { return m.digest }

// Size returns the module's size in bytes.
func (m *Module) Size() int64 { return m.size }

// Stats returns the counts so far.
func (m *Module) Stats() Stats {
	c := &m.counters
	return Stats{
		Calls: c.calls.Load(), Rejected: c.rejected.Load(), Instances: c.instances.Load(),
		LinesDropped: c.linesDropped.Load(), Trap: c.trap.Load(), Deadline: c.deadline.Load(),
		Memory: c.memory.Load(), TooLong: c.tooLong.Load(), BadAnswer: c.badAnswer.Load(),
	}
}

// Close frees the compiled code and all instances; none may be in a call.
func (m *Module) Close(ctx context.Context) error { return m.runtime.Close(ctx) }

// reject counts a refused call and makes its error.
func (m *Module) reject(why sdk.Reason, detail string) *CallError {
	c := &m.counters
	c.rejected.Add(1)
	switch why {
	case sdk.ReasonDeadline:
		c.deadline.Add(1)
	case sdk.ReasonMemory:
		c.memory.Add(1)
	case sdk.ReasonAnswerTooLong:
		c.tooLong.Add(1)
	case sdk.ReasonAnswerInvalid:
		c.badAnswer.Add(1)
	default:
		c.trap.Add(1)
	}
	return &CallError{Plugin: m.manifest.Name, Reason: why, Detail: cut(detail, maxDetail)}
}
