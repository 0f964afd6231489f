package sim

import (
	"fmt"
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// equip gives a machine identified devices: two pairs, of which the last is
// shared.
func (a *agent) equip(i int) {
	a.shared = map[string]bool{}
	for d := range 4 {
		x := sdk.Device{ID: fmt.Sprintf("dev-%05d-%d", i, d), Kind: "gpu", Resource: sdk.GPUs, Group: fmt.Sprintf("pair%d", d/2), Healthy: true, NUMA: int32(d / 2)}
		if d == 3 {
			x.Resource, x.Shared = "gpus-shared", true
			a.shared[x.ID] = true
		}
		a.devices = append(a.devices, x)
	}
	a.machine.Devices = slices.Clone(a.devices)
}

// equipped reports whether a machine has identified devices of a resource, be
// they well or not.
func (a *agent) equipped(resource string) bool {
	return slices.ContainsFunc(a.devices, func(d sdk.Device) bool { return d.Resource == resource })
}

// breakDevice has one of a machine's devices fall ill, or off the bus, for a
// while. Tasks on it run on until they are told to end.
func (a *agent) breakDevice() {
	if len(a.devices) == 0 || len(a.machine.Devices) < len(a.devices) {
		return
	}
	i := a.rand.IntN(len(a.devices))
	devices := slices.Clone(a.devices)
	if a.chance(500) {
		devices = slices.Delete(devices, i, i+1)
	} else {
		devices[i].Healthy, devices[i].Detail = false, "XID 79"
	}
	a.logf("machine %s loses %s", a.name, a.devices[i].ID)
	a.become(devices)
	a.after(a.between(1000, 30_000), func() { a.become(slices.Clone(a.devices)) })
}

// become tells the servers what devices there are now, if there is a session;
// otherwise the next one does.
func (a *agent) become(devices []sdk.Device) {
	a.machine.Devices = devices
	session, m := a.session, a.machine
	if session != 0 && a.linked() {
		a.after(5, func() {
			if a.linked() && a.session == session {
				a.server.machine(a, session, m)
			}
		})
	}
}
