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
