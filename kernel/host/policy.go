package host

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// policyExports are what a policy must export, with their types.
var policyExports = map[string]string{
	policy.ExportLayout:   "(i32 i32 i32 i32 i32) i32",
	policy.ExportAllocate: "() i32",
}

// Policy is an instance of a policy plugin. One caller at a time.
type Policy struct {
	module *Module
	in     *instance
	layout api.Function
	decide api.Function
	stack  [5]uint64
	table  table
	room   [5]uint32 // rows there is room for: dims, roles, clients, demands, nodes
	rows   int       // nodes the plugin has seen, 0 when its columns are stale
}

// Policy makes an instance. Errors: Invalid when the plugin is no policy;
// *CallError when it fails while it starts.
func (m *Module) Policy(ctx context.Context) (*Policy, error) {
	if m.manifest.Point != sdk.PointPolicy {
		return nil, sdk.Errorf(sdk.Invalid, "plugin/"+string(m.manifest.Name), "it is a %s, not a policy", m.manifest.Point)
	}
	p := &Policy{module: m}
	return p, p.ready(ctx)
}

// ready makes sure that there is an instance.
func (p *Policy) ready(ctx context.Context) error {
	if p.in != nil {
		return nil
	}
	in, err := p.module.start(ctx)
	if err != nil {
		return err
	}
	p.in, p.room, p.rows = in, [5]uint32{}, 0
	p.layout, p.decide = in.wasm.ExportedFunction(policy.ExportLayout), in.wasm.ExportedFunction(policy.ExportAllocate)
	return nil
}

// Name returns the plugin's name.
func (p *Policy) Name() sdk.PluginName { return p.module.manifest.Name }

// Allocate calls the policy for one batch. The index is called back, on the
// same goroutine, while it decides. Errors: *CallError when the call is refused,
// the context's when that ends first; either way what the index was told counts
// for nothing, and the next call gets a fresh instance.
func (p *Policy) Allocate(ctx context.Context, b *policy.Batch, ix policy.Index) error {
	p.module.counters.calls.Add(1)
	if err := p.ready(ctx); err != nil {
		return err
	}
	if err := p.allocate(ctx, b, ix); err != nil {
		p.discard()
		return err
	}
	return nil
}

func (p *Policy) allocate(ctx context.Context, b *policy.Batch, ix policy.Index) error {
	if err := p.lay(ctx, b); err != nil {
		return err
	}
	p.table.write(p.in.wasm.Memory(), b, p.rows != len(b.Nodes.Usable))
	p.rows = len(b.Nodes.Usable)

	in := p.in
	in.index, in.dims = ix, b.Dims
	in.demands, in.nodes = uint32(len(b.Demands.Client)), uint32(len(b.Nodes.Usable))
	for i := range in.vectors {
		if len(in.vectors[i]) != b.Dims {
			in.vectors[i] = make([]int64, b.Dims)
		}
	}
	err := in.invoke(ctx, p.decide, p.stack[:])
	in.index = nil
	if err != nil {
		return err
	}
	if status := int32(p.stack[0]); status != 0 {
		return p.module.reject(sdk.ReasonAnswerInvalid, fmt.Sprintf("it answered with status %d", status))
	}
	return nil
}

// lay has the plugin make room for a batch, when it has too little.
func (p *Policy) lay(ctx context.Context, b *policy.Batch) error {
	want := [5]uint32{uint32(b.Dims), uint32(len(b.Roles.Parent)), uint32(len(b.Clients.Role)),
		uint32(len(b.Demands.Client)), uint32(len(b.Nodes.Usable))}
	fits := want[0] == p.room[0]
	for i := range want {
		fits = fits && want[i] <= p.room[i]
	}
	if fits {
		return nil
	}
	// Some more than is needed, so that growth does not mean a call each time.
	for i := range want {
		if i > 0 {
			want[i] = max(want[i]+want[i]/4+16, p.room[i])
		}
		p.stack[i] = uint64(want[i])
	}
	if err := p.in.invoke(ctx, p.layout, p.stack[:]); err != nil {
		return err
	}
	if err := p.table.read(p.in.wasm.Memory(), uint32(p.stack[0]), want); err != nil {
		return p.module.reject(sdk.ReasonAnswerInvalid, err.Error())
	}
	p.room, p.rows = want, 0
	return nil
}

// discard ends the instance.
func (p *Policy) discard() {
	if p.in != nil {
		p.in.close()
		p.in = nil
	}
}

// Close ends the instance. The module stays.
func (p *Policy) Close(context.Context) error {
	p.discard()
	return nil
}
