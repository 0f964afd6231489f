package gpu

import (
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// nvlink and pcie begin the names of groups.
const (
	nvlink = "nvlink-"
	pcie   = "pcie-"
)

// sets are disjoint sets of cards, by their numbers.
type sets struct {
	of     []int // of each card: a card of its set, at last itself
	joined []bool
}

func newSets(n int) *sets {
	s := &sets{make([]int, n), make([]bool, n)}
	for i := range s.of {
		s.of[i] = i
	}
	return s
}

func (s *sets) root(i int) int {
	for s.of[i] != i {
		i = s.of[i]
	}
	return i
}

func (s *sets) join(a, b int) {
	s.joined[a], s.joined[b] = true, true
	a, b = s.root(a), s.root(b)
	s.of[max(a, b)] = min(a, b)
}

// name calls the sets by prefix and a number, in the order of the cards. A card
// that is alone, or has a name already, gets none.
func (s *sets) name(cards []*card, prefix string) {
	names := map[int]string{}
	for i, c := range cards {
		if !s.joined[i] || c.device.Group != "" {
			continue
		}
		r := s.root(i)
		if names[r] == "" {
			names[r] = fmt.Sprintf("%s%d", prefix, len(names))
		}
		c.device.Group = names[r]
	}
}

// group names the sets of cards that reach each other by NVLink, directly, by
// way of others, or through switches; and of the others, those under one PCI
// Express switch. A card with no such neighbour is in none.
func group(cards []*card) {
	byLink(cards)
	s := newSets(len(cards))
	for i, a := range cards {
		for j, b := range cards[:i] {
			if a.device.Group != "" || b.device.Group != "" {
				continue
			}
			level, ret := ask(func() (nvml.GpuTopologyLevel, nvml.Return) { return a.handle.GetTopologyCommonAncestor(b.handle) })
			if ret == nvml.SUCCESS && level <= nvml.TOPOLOGY_MULTIPLE {
				s.join(i, j)
			}
		}
	}
	s.name(cards, pcie)
}

func byLink(cards []*card) {
	byBus := map[string]int{}
	for i, c := range cards {
		if c.device.Bus != "" {
			byBus[c.device.Bus] = i
		}
	}
	s := newSets(len(cards))
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
				s.join(i, onSwitch)
				continue
			}
			far, ret := ask(func() (nvml.PciInfo, nvml.Return) { return c.handle.GetNvLinkRemotePciInfo(link) })
			if j, ok := byBus[bus(text(far.BusId[:]))]; ret == nvml.SUCCESS && ok && j != i {
				s.join(i, j)
			}
		}
	}
	s.name(cards, nvlink)
}
