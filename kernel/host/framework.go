package host

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
	"github.com/drupe-os/drupe/sdk/wire"
)

// frameworkExports are what a framework must export, with their types.
var frameworkExports = map[string]string{
	framework.ExportBuffer: "(i32) i32",
	framework.ExportStart:  "(i32) i64",
	framework.ExportCall:   "(i32) i64",
}

// Framework is an instance of a framework plugin. One caller at a time.
type Framework struct {
	module *Module
	in     *instance
	stack  [1]uint64
	body   []byte
}

// Framework makes an instance that waits for Start. Errors: Invalid when the
// plugin is no framework.
func (m *Module) Framework(context.Context) (*Framework, error) {
	if m.manifest.Point != sdk.PointFramework {
		return nil, sdk.Errorf(sdk.Invalid, "plugin/"+string(m.manifest.Name), "it is a %s, not a framework", m.manifest.Point)
	}
	return &Framework{module: m}, nil
}

// Name returns the plugin's name.
func (f *Framework) Name() sdk.PluginName { return f.module.manifest.Name }

// Start gives a fresh instance the world and returns its first answer. It may
// be called again at any time: what ran before is gone. Errors: as Call.
func (f *Framework) Start(ctx context.Context, w *sdk.World) (*sdk.FrameworkAnswer, error) {
	f.discard()
	f.module.counters.calls.Add(1)
	in, err := f.module.start(ctx)
	if err != nil {
		return nil, err
	}
	f.in = in
	return f.exchange(ctx, framework.ExportStart, w.Now, &sdk.FrameworkStart{World: *w})
}

// Call hands over what happened since the last call and returns the answer.
// Errors: *CallError when the call is refused, the context's when that ends
// first; after either, and before Start, only Start is of use.
func (f *Framework) Call(ctx context.Context, now sdk.Time, events []sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) {
	f.module.counters.calls.Add(1)
	if f.in == nil {
		return nil, sdk.Errorf(sdk.Unavailable, "plugin/"+string(f.module.manifest.Name), "it has not been started")
	}
	return f.exchange(ctx, framework.ExportCall, now, &sdk.FrameworkCall{Now: now, Events: events})
}

// exchange makes one call with an argument and an answer in MessagePack.
func (f *Framework) exchange(ctx context.Context, export string, now sdk.Time, arg wire.Marshaler) (*sdk.FrameworkAnswer, error) {
	a, err := f.transact(ctx, export, now, arg)
	if err != nil {
		f.discard()
		return nil, err
	}
	return a, nil
}

func (f *Framework) transact(ctx context.Context, export string, now sdk.Time, arg wire.Marshaler) (*sdk.FrameworkAnswer, error) {
	var err error
	if f.body, err = arg.MarshalMsg(f.body[:0]); err != nil {
		return nil, sdk.Errorf(sdk.Internal, "plugin/"+string(f.module.manifest.Name), "encode its call: %v", err)
	}
	in := f.in
	in.clock = max(firstMoment, uint64(max(now, 0))*1e6)
	if uint64(len(f.body)) > uint64(f.module.limits.MemoryPages)*pageSize {
		return nil, f.module.reject(sdk.ReasonMemory, fmt.Sprintf("what it must be told takes %d bytes, more than its memory", len(f.body)))
	}
	f.stack[0] = uint64(len(f.body))
	if err := in.invoke(ctx, in.wasm.ExportedFunction(framework.ExportBuffer), f.stack[:]); err != nil {
		return nil, err
	}
	if !in.wasm.Memory().Write(uint32(f.stack[0]), f.body) {
		return nil, f.module.reject(sdk.ReasonAnswerInvalid, "the room it gave for its call lies outside its memory")
	}
	f.stack[0] = uint64(len(f.body))
	if err := in.invoke(ctx, in.wasm.ExportedFunction(export), f.stack[:]); err != nil {
		return nil, err
	}
	return f.answer(in.wasm.Memory(), uint32(f.stack[0]>>32), uint32(f.stack[0]))
}

// answer reads and checks an answer.
func (f *Framework) answer(mem api.Memory, at, n uint32) (*sdk.FrameworkAnswer, error) {
	if int64(n) > f.module.limits.Answer {
		return nil, f.module.reject(sdk.ReasonAnswerTooLong, fmt.Sprintf("%d bytes, more than %d", n, f.module.limits.Answer))
	}
	raw, ok := mem.Read(at, n)
	if !ok {
		return nil, f.module.reject(sdk.ReasonAnswerInvalid, "its answer lies outside its memory")
	}
	if err := wire.Bounded(raw, maxElements); err != nil {
		return nil, f.module.reject(sdk.ReasonAnswerInvalid, err.Error())
	}
	a := &sdk.FrameworkAnswer{}
	if err := wire.Decode(raw, a); err != nil {
		return nil, f.module.reject(sdk.ReasonAnswerInvalid, err.Error())
	}
	for _, line := range a.Logs {
		f.in.out.line(line)
	}
	return a, nil
}

// discard ends the instance.
func (f *Framework) discard() {
	if f.in != nil {
		f.in.close()
		f.in = nil
	}
}

// Close ends the instance. The module stays.
func (f *Framework) Close(context.Context) error {
	f.discard()
	return nil
}
