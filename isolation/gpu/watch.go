package gpu

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/drupe-os/drupe/sdk"
)

// application are the XIDs that a program's own fault brings about: the card is
// well. They are: graphics engine exception, memory page fault, stopped
// processing, preemptive removal, application channel error, and NVDEC fault.
var application = map[uint64]bool{13: true, 31: true, 43: true, 45: true, 68: true, 109: true}

// watched are the events that can make a card unfit.
const watched = nvml.EventTypeXidCriticalError | nvml.EventTypeDoubleBitEccError

// Watch looks after the GPUs until ctx ends: at once when the driver tells of a
// fault, otherwise every so often (0: half a minute). It calls changed with what
// is found whenever that is different from the last look. A machine without a
// driver is looked at again too: one may be loaded later.
func (c *Cards) Watch(ctx context.Context, every time.Duration, changed func(Found)) {
	if every <= 0 {
		every = 30 * time.Second
	}
	c.mu.Lock()
	last := c.found
	c.mu.Unlock()
	tick := time.NewTicker(every)
	defer tick.Stop()
	// One set of events for as long as the cards are the same, so that nothing
	// is missed while they are looked at.
	set := c.register()
	defer func() { free(set) }()
	for {
		set = c.listen(ctx, set, tick.C)
		if ctx.Err() != nil {
			return
		}
		now, err := c.Look()
		if err != nil {
			continue // what was known stands; the driver may come back
		}
		differs := !reflect.DeepEqual(now.Devices, last.Devices)
		if differs || set == nil {
			free(set)
			set = c.register()
		}
		last = now
		if differs {
			changed(now)
		}
	}
}

// listen waits for the next reason to look. It returns the set, or nil when
// that is of no use any more.
func (c *Cards) listen(ctx context.Context, set nvml.EventSet, tick <-chan time.Time) nvml.EventSet {
	for set != nil {
		event, ret := ask(func() (nvml.EventData, nvml.Return) { return set.Wait(1000) })
		switch ret {
		case nvml.SUCCESS:
			if c.heard(event) {
				return set
			}
		case nvml.ERROR_TIMEOUT:
		default:
			free(set) // as when a card was lost
			set = nil
			continue
		}
		select {
		case <-tick:
			return set
		case <-ctx.Done():
			return set
		default:
		}
	}
	select {
	case <-tick:
	case <-ctx.Done():
	}
	return nil
}

func free(set nvml.EventSet) {
	if set != nil {
		ask(func() (struct{}, nvml.Return) { return struct{}{}, set.Free() })
	}
}

// register makes an event set of all cards; nil when the driver has none.
func (c *Cards) register() nvml.EventSet {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return nil
	}
	set, ret := ask(c.lib.EventSetCreate)
	if ret != nvml.SUCCESS {
		return nil
	}
	any := false
	done := map[string]bool{}
	for _, one := range c.seen {
		// Events of a partition come with its whole card.
		id, h := one.device.ID, one.handle
		if one.device.Parent != "" {
			id = one.device.Parent
			h, ret = ask(func() (nvml.Device, nvml.Return) { return c.lib.DeviceGetHandleByUUID(id) })
			if ret != nvml.SUCCESS {
				continue
			}
		}
		if one.gone || done[id] {
			continue
		}
		done[id] = true
		_, ret := ask(func() (struct{}, nvml.Return) { return struct{}{}, h.RegisterEvents(watched, set) })
		any = any || ret == nvml.SUCCESS
	}
	if !any {
		free(set)
		return nil
	}
	return set
}

// wide is the instance number of an event that concerns the whole card.
const wide = 0xFFFFFFFF

// heard notes an event. It returns whether a card became unfit.
func (c *Cards) heard(e nvml.EventData) bool {
	why := ""
	switch {
	case e.EventType == nvml.EventTypeDoubleBitEccError:
		why = "a memory error that could not be corrected"
	case e.EventType == nvml.EventTypeXidCriticalError && !application[e.EventData]:
		why = fmt.Sprintf("the driver reported XID %d", e.EventData)
	default:
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Device == nil {
		c.blame(func(*card) bool { return true }, why)
		return true
	}
	id, ret := ask(e.Device.GetUUID)
	if ret != nvml.SUCCESS {
		// Nobody knows which: none is to be trusted.
		c.blame(func(*card) bool { return true }, why+" for a card that cannot be told")
		return true
	}
	hit := c.blame(func(one *card) bool {
		if one.device.ID == id {
			return true
		}
		if one.device.Parent != id {
			return false
		}
		return e.GpuInstanceId == wide || int(e.GpuInstanceId) == one.gi && (e.ComputeInstanceId == wide || int(e.ComputeInstanceId) == one.ci)
	}, why)
	return hit
}

func (c *Cards) blame(which func(*card) bool, why string) (any bool) {
	for id, one := range c.seen {
		if which(one) && c.events[id] == "" {
			c.events[id], any = why, true
		}
	}
	return any
}

// Reading is what a GPU does at the moment. Values that it does not tell are -1.
type Reading struct {
	ID            string `json:"id"`
	Busy          int64  `json:"busy"`          // percent of the last moments
	MemUsed       int64  `json:"mem_used"`      // bytes
	Temperature   int64  `json:"temperature"`   // degrees Celsius
	Power         int64  `json:"power"`         // milliwatts
	Corrected     int64  `json:"corrected"`     // memory errors since the driver was loaded
	Uncorrectable int64  `json:"uncorrectable"` // the same, not corrected
}

// Readings returns what the whole GPUs and partitions do, in the order of
// Found.Devices. Those that are gone are left out.
func (c *Cards) Readings() []Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Reading
	for _, d := range c.found.Devices {
		one := c.seen[d.ID]
		if one == nil || one.gone {
			continue
		}
		list = append(list, read(d, one.handle))
	}
	return list
}

func read(d sdk.Device, h nvml.Device) Reading {
	r := Reading{ID: d.ID, Busy: -1, MemUsed: -1, Temperature: -1, Power: -1, Corrected: -1, Uncorrectable: -1}
	if u, ret := ask(h.GetUtilizationRates); ret == nvml.SUCCESS {
		r.Busy = int64(u.Gpu)
	}
	if m, ret := ask(h.GetMemoryInfo); ret == nvml.SUCCESS {
		r.MemUsed = int64(m.Used)
	}
	if t, ret := ask(func() (uint32, nvml.Return) { return h.GetTemperature(nvml.TEMPERATURE_GPU) }); ret == nvml.SUCCESS {
		r.Temperature = int64(t)
	}
	if p, ret := ask(h.GetPowerUsage); ret == nvml.SUCCESS {
		r.Power = int64(p)
	}
	count := func(kind nvml.MemoryErrorType) int64 {
		n, ret := ask(func() (uint64, nvml.Return) { return h.GetTotalEccErrors(kind, nvml.VOLATILE_ECC) })
		if ret != nvml.SUCCESS {
			return -1
		}
		return int64(n)
	}
	r.Corrected, r.Uncorrectable = count(nvml.MEMORY_ERROR_TYPE_CORRECTED), count(nvml.MEMORY_ERROR_TYPE_UNCORRECTED)
	return r
}
