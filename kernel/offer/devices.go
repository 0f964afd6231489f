package offer

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// whole is all of a device, in thousandths.
const whole = 1000

// deviceSet is the identified devices of one node, and how much of each tasks
// hold. Nodes without any have none. The ledger counts the same as scalars; a
// set says which of them they are, and so knows what no sum shows: that two
// halves are not a whole.
type deviceSet struct {
	pools []devicePool
	// held by device. A device that is gone stays in it until its tasks have
	// given it back: should it return, it is not free.
	held map[string]sdk.Milli
}

// devicePool is the devices of one resource, in a fixed order.
type devicePool struct {
	dim      int
	resource string
	devices  []device
}

type device struct {
	*sdk.Device
	well  bool     // it is, and so is what it is a partition of
	parts []string // its partitions, of whatever resource
}

// Capacity is what a machine has: what it states, but of resources that are
// identified devices as many as are well.
func Capacity(m *sdk.Machine) sdk.Resources {
	c := m.Capacity
	for i := range m.Devices {
		if d := &m.Devices[i]; d.Resource != "" {
			c = c.With(d.Resource, 0)
		}
	}
	for i := range m.Devices {
		if d := &m.Devices[i]; d.Resource != "" && well(m.Devices, d) {
			c = c.With(d.Resource, c.Get(d.Resource)+whole)
		}
	}
	return c
}

// Ill says why a task may not go on with what it holds of a machine's devices;
// "" when all is well.
func Ill(m *sdk.Machine, held *sdk.DeviceBinding) string {
	i := slices.IndexFunc(m.Devices, func(d sdk.Device) bool { return d.ID == held.ID })
	if i < 0 {
		return held.ID + " is gone"
	}
	switch d := &m.Devices[i]; {
	case !d.Healthy:
		return ailing(d)
	case !well(m.Devices, d):
		return d.ID + " is part of " + d.Parent + ", which is not well"
	case d.Resource != held.Resource || held.Share < whole && !d.Shared:
		return d.ID + " is no longer given out as " + held.Resource
	}
	return ""
}

func ailing(d *sdk.Device) string {
	if d.Detail == "" {
		return d.ID + " is not well"
	}
	return d.ID + " is not well: " + d.Detail
}

// well reports whether a device of a list, and what it is a partition of, is
// healthy.
func well(all []sdk.Device, d *sdk.Device) bool {
	if !d.Healthy || d.Parent == "" {
		return d.Healthy
	}
	i := slices.IndexFunc(all, func(p sdk.Device) bool { return p.ID == d.Parent })
	return i < 0 || all[i].Healthy
}

// devicesOf makes the set of a node's devices; what was held of them before
// stays held. nil when there is nothing to know.
func devicesOf(l *account.Ledger, list []sdk.Device, before *deviceSet) *deviceSet {
	s := &deviceSet{}
	if before != nil {
		s.held = before.held
	}
	for i := range list {
		d := &list[i]
		if d.Resource == "" {
			continue
		}
		own := device{Device: d, well: well(list, d)}
		for j := range list {
			if list[j].Parent == d.ID {
				own.parts = append(own.parts, list[j].ID)
			}
		}
		p := s.pool(l.Dim(d.Resource))
		if p == nil {
			s.pools = append(s.pools, devicePool{dim: l.Dim(d.Resource), resource: d.Resource})
			p = &s.pools[len(s.pools)-1]
		}
		p.devices = append(p.devices, own)
	}
	if len(s.pools) == 0 && len(s.held) == 0 {
		return nil
	}
	if s.held == nil {
		s.held = map[string]sdk.Milli{}
	}
	slices.SortFunc(s.pools, func(a, b devicePool) int { return strings.Compare(a.resource, b.resource) })
	for _, p := range s.pools {
		slices.SortFunc(p.devices, func(a, b device) int {
			return cmp.Or(cmp.Compare(a.NUMA, b.NUMA), strings.Compare(a.Bus, b.Bus), strings.Compare(a.ID, b.ID))
		})
	}
	return s
}

// pool finds the devices of a resource; nil when the node has none.
func (s *deviceSet) pool(dim int) *devicePool {
	if s == nil {
		return nil
	}
	for i := range s.pools {
		if s.pools[i].dim == dim {
			return &s.pools[i]
		}
	}
	return nil
}

// room is how much of a device is to be had. Of a device in use by several or by
// its partitions nothing is, but of a shared one.
func (s *deviceSet) room(d *device) sdk.Milli {
	held := s.held[d.ID]
	if !d.well || held > 0 && !d.Shared || d.Parent != "" && s.held[d.Parent] > 0 {
		return 0
	}
	for _, part := range d.parts {
		if s.held[part] > 0 {
			return 0
		}
	}
	return max(whole-held, 0)
}

// free counts the devices that nobody has any of.
func (s *deviceSet) free(p *devicePool) (n int64) {
	for i := range p.devices {
		if s.room(&p.devices[i]) == whole {
			n++
		}
	}
	return n
}

// largest is the most that is free of one shared device.
func (s *deviceSet) largest(p *devicePool) (most int64) {
	for i := range p.devices {
		if p.devices[i].Shared {
			most = max(most, int64(s.room(&p.devices[i])))
		}
	}
	return most
}

// fits reports whether so much of a pool can be given out: whole devices, or a
// part of one that is shared.
func (s *deviceSet) fits(p *devicePool, need int64) bool {
	switch {
	case need%whole == 0:
		return s.free(p) >= need/whole
	case need < whole:
		return s.largest(p) >= need
	}
	return false
}

// most is the largest amount up to bound that can be given out.
func (s *deviceSet) most(p *devicePool, bound int64) int64 {
	if n := min(s.free(p), bound/whole); n > 0 {
		return n * whole
	}
	return max(0, min(bound, s.largest(p)))
}

// bind takes the devices of one instance; check has seen that they are to be
// had.
func (s *deviceSet) bind(need account.Vector) []sdk.DeviceBinding {
	if s == nil {
		return nil
	}
	var out []sdk.DeviceBinding
	for i := range s.pools {
		p := &s.pools[i]
		if p.dim >= len(need) || need[p.dim] == 0 {
			continue
		}
		share := sdk.Milli(min(need[p.dim], whole))
		for _, d := range s.choose(p, need[p.dim]) {
			s.held[d.ID] += share
			out = append(out, sdk.DeviceBinding{ID: d.ID, Resource: p.resource, Share: share})
		}
	}
	return out
}

// choose picks devices of a pool: of a shared one the fullest that has the
// room; of whole ones such as belong together.
func (s *deviceSet) choose(p *devicePool, need int64) []*device {
	var able []*device
	for i := range p.devices {
		if d := &p.devices[i]; s.room(d) == whole || need < whole && d.Shared && int64(s.room(d)) >= need {
			able = append(able, d)
		}
	}
	n := int(need / whole)
	if need%whole != 0 {
		able = slices.DeleteFunc(able, func(d *device) bool { return !d.Shared })
		slices.SortStableFunc(able, func(a, b *device) int { return cmp.Compare(s.room(a), s.room(b)) })
		n = 1
	} else {
		able = together(able, n, func(d *device) string { return d.Group })
		able = together(able, n, func(d *device) string {
			if d.NUMA < 0 {
				return ""
			}
			return strconv.Itoa(int(d.NUMA))
		})
	}
	return able[:min(n, len(able))]
}

// together narrows a list to the devices with one key, if n of them have it: the
// key that the fewest have, so that large groups stay whole for those who need
// them. Otherwise those of large groups come first. "" belongs with nothing.
func together(list []*device, n int, key func(*device) string) []*device {
	counts := map[string]int{}
	size := func(d *device) int {
		if k := key(d); k != "" {
			return counts[k]
		}
		return 1
	}
	for _, d := range list {
		counts[key(d)]++
	}
	var best *device
	for _, d := range list {
		if size(d) >= n && (best == nil || size(d) < size(best)) {
			best = d
		}
	}
	switch {
	case best == nil:
		slices.SortStableFunc(list, func(a, b *device) int { return cmp.Compare(size(b), size(a)) })
		return list
	case key(best) == "":
		return []*device{best}
	}
	return slices.DeleteFunc(list, func(d *device) bool { return key(d) != key(best) })
}

// take marks what is a fact already, as after a restart.
func (e *nodeEntry) take(list []sdk.DeviceBinding) {
	if len(list) > 0 && e.devices == nil {
		e.devices = &deviceSet{held: map[string]sdk.Milli{}}
	}
	for _, d := range list {
		e.devices.held[d.ID] += d.Share
	}
}

// give gives devices back.
func (e *nodeEntry) give(list []sdk.DeviceBinding) {
	for _, d := range list {
		if e.devices.held[d.ID] -= d.Share; e.devices.held[d.ID] <= 0 {
			delete(e.devices.held, d.ID)
		}
	}
}
