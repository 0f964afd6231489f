package gpu

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// group names the sets of cards that reach each other by NVLink, directly, by
// way of others, or through switches. A card without links is in none.
func group(cards []*card) {
	byBus := map[string]int{}
	for i, c := range cards {
		if c.bus != "" {
			byBus[c.bus] = i
		}
	}
	set := make([]int, len(cards)) // of each card: a card of its set, at last itself
	linked := make([]bool, len(cards))
	for i := range set {
		set[i] = i
	}
	root := func(i int) int {
		for set[i] != i {
			i = set[i]
		}
		return i
	}
	join := func(a, b int) {
		linked[a], linked[b] = true, true
		a, b = root(a), root(b)
		set[max(a, b)] = min(a, b)
	}
	onSwitch := -1
	for i, c := range cards {
		for link := range nvml.NVLINK_MAX_LINKS {
			state, ret := ask(func() (nvml.EnableState, nvml.Return) { return c.handle.GetNvLinkState(link) })
			if ret != nvml.SUCCESS {
				break // there is no such link, so no later one either
			}
			if state != nvml.FEATURE_ENABLED {
				continue
			}
			kind, ret := ask(func() (nvml.IntNvLinkDeviceType, nvml.Return) { return c.handle.GetNvLinkRemoteDeviceType(link) })
			if ret == nvml.SUCCESS && kind == nvml.NVLINK_DEVICE_TYPE_SWITCH {
				// The switches of a machine are one fabric.
				if onSwitch < 0 {
					onSwitch = i
				}
				join(i, onSwitch)
				continue
			}
			far, ret := ask(func() (nvml.PciInfo, nvml.Return) { return c.handle.GetNvLinkRemotePciInfo(link) })
			if j, ok := byBus[text(far.BusId[:])]; ret == nvml.SUCCESS && ok && j != i {
				join(i, j)
			}
		}
	}
	// Numbered in the order of the cards.
	names := map[int]string{}
	for i, c := range cards {
		if !linked[i] {
			continue
		}
		r := root(i)
		if names[r] == "" {
			names[r] = fmt.Sprintf("nvlink-%d", len(names))
		}
		c.device.Group = names[r]
	}
}
