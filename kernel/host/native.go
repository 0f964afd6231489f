package host

import (
	"context"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
	"github.com/drupe-os/drupe/sdk/policy"
	"github.com/drupe-os/drupe/sdk/wire"
)

// NativePolicy runs a policy's source without the sandbox: the twin of Policy,
// for comparison, simulation and tests.
type NativePolicy struct{ p policy.Policy }

// Native wraps a policy.
func Native(p policy.Policy) *NativePolicy { return &NativePolicy{p} }

// Allocate calls the policy. It never fails; a panic is the policy's own.
func (n *NativePolicy) Allocate(_ context.Context, b *policy.Batch, ix policy.Index) error {
	n.p.Allocate(b, ix)
	return nil
}

// Close does nothing.
func (n *NativePolicy) Close(context.Context) error { return nil }

// NativeFramework runs a framework's source without the sandbox: the twin of
// Framework.
type NativeFramework struct {
	make func() framework.Framework
	run  framework.Framework
}

// NativeOf wraps what makes a framework.
func NativeOf(make func() framework.Framework) *NativeFramework { return &NativeFramework{make: make} }

// Start gives a fresh instance the world: a copy, as in the sandbox, so that
// nothing the framework does to it reaches the kernel. Errors: those of copying.
func (n *NativeFramework) Start(_ context.Context, w *sdk.World) (*sdk.FrameworkAnswer, error) {
	start := &sdk.FrameworkStart{}
	if err := copied(&sdk.FrameworkStart{World: *w}, start); err != nil {
		return nil, err
	}
	n.run = n.make()
	c := &framework.Call{Now: w.Now}
	n.run.Start(&start.World, c)
	return &sdk.FrameworkAnswer{Actions: c.Actions, Logs: c.Logs}, nil
}

// Call hands over a copy of what happened. Errors: Unavailable before Start,
// and those of copying.
func (n *NativeFramework) Call(_ context.Context, now sdk.Time, events []sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) {
	if n.run == nil {
		return nil, sdk.Errorf(sdk.Unavailable, "plugin", "it has not been started")
	}
	call := &sdk.FrameworkCall{}
	if err := copied(&sdk.FrameworkCall{Now: now, Events: events}, call); err != nil {
		return nil, err
	}
	c := &framework.Call{Now: now}
	n.run.Handle(call.Events, c)
	return &sdk.FrameworkAnswer{Actions: c.Actions, Logs: c.Logs}, nil
}

func copied(from wire.Marshaler, to wire.Unmarshaler) error {
	b, err := from.MarshalMsg(nil)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "plugin", "encode its call: %v", err)
	}
	return wire.Decode(b, to)
}

// Close forgets the instance.
func (n *NativeFramework) Close(context.Context) error {
	n.run = nil
	return nil
}
