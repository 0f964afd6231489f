package host

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// initialize is the export, if any, that prepares a fresh instance.
const initialize = "_initialize"

// instance is one running copy of a module, with the state its host functions
// need.
type instance struct {
	module *Module
	wasm   api.Module
	arena  *arena
	clock  uint64 // nanoseconds since the epoch, as the plugin sees it
	random uint64
	out    output

	calls int64      // host calls so far in this call
	fault *CallError // set by a host function that ends the call

	// For policies, during a call:
	index          policy.Index
	dims           int
	demands, nodes uint32
	rows           []uint32
	vectors        [2][]int64
}

// callContext is the context of one call. Host functions find their instance in
// it at the cost of one comparison.
type callContext struct {
	context.Context
	in *instance
}

// instanceKey asks a callContext for its instance.
type instanceKey struct{}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if key == (instanceKey{}) {
		return c.in
	}
	return c.Context.Value(key)
}

// of returns the instance whose call ctx belongs to.
func of(ctx context.Context) *instance { return ctx.Value(instanceKey{}).(*instance) }

// start makes and initialises an instance. Errors: *CallError as for a call, and
// the context's.
func (m *Module) start(ctx context.Context) (*instance, error) {
	m.counters.instances.Add(1)
	a, err := newArena(uint64(m.limits.MemoryPages) * pageSize)
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "plugin/"+string(m.manifest.Name), "no address space for its memory: %w", err)
	}
	in := &instance{module: m, arena: a, clock: firstMoment, random: firstRandom}
	in.out.module = m
	err = in.limit(ctx, func(ctx context.Context) (err error) {
		config := wazero.NewModuleConfig().WithName("").WithStartFunctions(initialize)
		in.wasm, err = m.runtime.InstantiateModule(experimental.WithMemoryAllocator(ctx, a), m.code, config)
		return err
	})
	if err != nil {
		a.Free()
		return nil, err
	}
	return in, nil
}

// close ends the instance and frees its memory.
func (in *instance) close() {
	// Closing an idle module cannot fail in a way that leaves something behind.
	_ = in.wasm.Close(context.Background())
	in.arena.Free()
}

// invoke calls an export. Arguments and results lie on stack.
func (in *instance) invoke(ctx context.Context, f api.Function, stack []uint64) error {
	return in.limit(ctx, func(ctx context.Context) error { return f.CallWithStack(ctx, stack) })
}

// limit runs something of the plugin's under its deadline and gives its error a
// reason.
func (in *instance) limit(ctx context.Context, run func(context.Context) error) error {
	deadline, cancel := context.WithTimeout(ctx, in.module.limits.Deadline.Std())
	defer cancel()
	in.calls, in.fault = 0, nil
	in.out.begin()
	err := run(&callContext{deadline, in})
	in.out.end()
	late := deadline.Err()
	switch {
	case err == nil:
		return nil
	case in.fault != nil:
		return in.fault
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(late, context.DeadlineExceeded):
		return in.module.reject(sdk.ReasonDeadline, "it ran longer than "+in.module.limits.Deadline.String())
	case in.arena.refused:
		return in.module.reject(sdk.ReasonMemory, fmt.Sprintf("it wanted more than %d pages of memory; %s",
			in.module.limits.MemoryPages, in.lastWords(err)))
	}
	return in.module.reject(sdk.ReasonTrap, in.lastWords(err))
}

// lastWords are the first line of a trap and what the plugin wrote last.
func (in *instance) lastWords(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	if said := in.out.last(); said != "" {
		return first + ": " + said
	}
	return first
}

// end ends the call from inside a host function.
func (in *instance) end(why sdk.Reason, format string, args ...any) {
	in.fault = in.module.reject(why, fmt.Sprintf(format, args...))
	panic(in.fault) // wazero unwinds the plugin and returns it as an error
}

// count counts one host call.
func (in *instance) count() {
	if in.calls++; in.calls > in.module.limits.HostCalls {
		in.end(sdk.ReasonAnswerTooLong, "more than %d host calls", in.module.limits.HostCalls)
	}
}

// bytes returns a part of the plugin's memory, or ends the call when it lies
// outside.
func (in *instance) bytes(mod api.Module, at, n uint64) []byte {
	b, ok := mod.Memory().Read(uint32(at), uint32(n))
	if !ok {
		in.end(sdk.ReasonAnswerInvalid, "it points to %d bytes at %#x, outside its memory", uint32(n), uint32(at))
	}
	return b
}
