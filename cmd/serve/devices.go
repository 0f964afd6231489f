package serve

import (
	"strings"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/cdi"
	"github.com/drupe-os/drupe/isolation/gpu"
	"github.com/drupe-os/drupe/sdk"
)

// devices hands over GPUs by their driver, and all others by what their makers
// say of them. It is agent.Devices.
type devices struct{ cards *gpu.Cards }

// Grant returns what containers get for what a task holds.
func (d devices) Grant(held []sdk.DeviceBinding) (*isolation.Grant, error) {
	var cards []sdk.DeviceBinding
	var others []string
	for _, b := range held {
		if strings.Contains(b.ID, "=") { // as in amd.com/gpu=0
			others = append(others, b.ID)
		} else {
			cards = append(cards, b)
		}
	}
	g, err := d.cards.Grant(cards)
	if err != nil || len(others) == 0 {
		return g, err
	}
	// Read anew: makers' tools change their files when devices come and go.
	o, err := cdi.Load(cdi.Folders...).Grant(others...)
	if err != nil {
		return nil, err
	}
	g.Devices = append(g.Devices, o.Devices...)
	g.Mounts = append(g.Mounts, o.Mounts...)
	g.Env = append(g.Env, o.Env...)
	return g, nil
}

// described are the devices that makers' files describe, but for GPUs that are
// found by their driver.
func described() []sdk.Device { return cdi.Load(cdi.Folders...).Devices(gpu.KindGPU, gpu.KindMIG) }
