package kernel

import (
	"context"

	"github.com/drupe-os/drupe/kernel/stream"
	"github.com/drupe-os/drupe/sdk"
)

// Index implements gate.Events.
func (k *Kernel) Index() uint64 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.state.Index()
}

// Subscribe implements gate.Events.
func (k *Kernel) Subscribe(ctx context.Context, after sdk.Position) (<-chan sdk.Event, error) {
	return k.events.Channel(ctx, after, stream.Filter{})
}

// Recent implements gate.Events.
func (k *Kernel) Recent(after sdk.Position, limit int) []sdk.Event {
	return k.events.Recent(after, stream.Filter{}, limit)
}
