package core

import (
	"fmt"

	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/sdk"
)

// maxDevices bounds what one machine may list: the partitions of a few dozen
// devices.
const maxDevices = 1024

// counted is a machine whose capacity counts the devices that are well.
func counted(m sdk.Machine) sdk.Machine {
	m.Capacity = offer.Capacity(&m)
	return m
}

// checkDevices proves that a machine's devices can be told apart and counted.
func checkDevices(name string, m *sdk.Machine) *sdk.Fault {
	if len(m.Devices) > maxDevices {
		return sdk.Errorf(sdk.Invalid, "node/"+name, "it lists %d devices; at most %d are taken", len(m.Devices), maxDevices)
	}
	seen := make(map[string]bool, len(m.Devices))
	for i := range m.Devices {
		d := &m.Devices[i]
		switch {
		case d.ID == "" || seen[d.ID]:
			return sdk.Errorf(sdk.Invalid, "node/"+name, "device %q is unnamed or listed twice", d.ID)
		case d.Resource == sdk.CPUs || d.Resource == sdk.Mem || d.Resource == sdk.Disk || d.Resource == "ports":
			return sdk.Errorf(sdk.Invalid, "node/"+name, "device %q is of %s, which is not counted by devices", d.ID, d.Resource)
		}
		seen[d.ID] = true
	}
	return nil
}

// loseDevices ends the tasks of a node that hold devices which are gone or ill.
// Their frameworks are told as of any other end that was asked for, and the
// devices stay theirs until they have ended.
func (s *State) loseDevices(n *node) {
	for _, t := range n.sorted() {
		for i := range t.placed.Devices {
			if ill := offer.Ill(&n.Machine, &t.placed.Devices[i]); ill != "" {
				s.stop(t, sdk.ReasonDeviceLost, 0, ill)
				break
			}
		}
	}
}

// checkDevices proves that no device of a node is given out more than once in
// all, so that one given out whole has one owner, that every task holds the
// devices it is charged for, and that none goes on with one that is lost.
func (s *State) checkDevices() error {
	for _, n := range s.nodes {
		held := map[string]sdk.Milli{}
		for _, t := range n.tasks {
			if t.state.Terminal() {
				continue
			}
			sums := map[string]int64{}
			for i := range t.placed.Devices {
				d := &t.placed.Devices[i]
				if ill := offer.Ill(&n.Machine, d); ill != "" && t.goal == sdk.GoalRun {
					return fmt.Errorf("task %s goes on although %s", t.id(), ill)
				}
				sums[d.Resource] += int64(d.Share)
				if held[d.ID] += d.Share; held[d.ID] > 1000 || d.Share <= 0 {
					return fmt.Errorf("node %s: %d thousandths of device %s are given out, %d of them to %s", n.Name, held[d.ID], d.ID, d.Share, t.id())
				}
			}
			for resource, sum := range sums {
				if want := t.group.resources.Get(resource); sum != want {
					return fmt.Errorf("task %s holds %d thousandths of %s as devices and is charged for %d", t.id(), sum, resource, want)
				}
			}
		}
	}
	return nil
}
