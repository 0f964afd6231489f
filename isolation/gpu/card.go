package gpu

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/drupe-os/drupe/sdk"
)

// card is one GPU, or a partition of one.
type card struct {
	handle nvml.Device
	device sdk.Device
	gone   bool
	// minor is the number of the card's device node, of a partition its
	// parent's; -1: not known.
	minor int
	// gi and ci are a partition's numbers of GPU instance and compute instance.
	gi, ci int
}

// card reads what identifies a card, and its health.
func (c *Cards) card(h nvml.Device) (*card, nvml.Return) {
	id, ret := ask(h.GetUUID)
	if ret != nvml.SUCCESS {
		return nil, ret
	}
	one := &card{handle: h, minor: -1, device: sdk.Device{ID: id, Kind: "gpu", Healthy: true, NUMA: -1, Resource: sdk.GPUs}}
	if c.o.Share {
		one.device.Resource, one.device.Shared = Shared, true
	}
	if name, ret := ask(h.GetName); ret == nvml.SUCCESS {
		one.device.Model = name
	}
	if minor, ret := ask(h.GetMinorNumber); ret == nvml.SUCCESS {
		one.minor = minor
	}
	if pci, ret := ask(h.GetPciInfo); ret == nvml.SUCCESS {
		one.device.Bus = bus(text(pci.BusId[:]))
		one.device.NUMA = c.numa(one.device.Bus)
	}
	if memory, ret := ask(h.GetMemoryInfo); ret == nvml.SUCCESS {
		one.device.Mem = int64(memory.Total)
	} else {
		one.ill("its memory cannot be read: " + message(ret))
	}
	one.health()
	c.remembered(one)
	return one, nvml.SUCCESS
}

// bus writes a PCI address as the kernel does: NVML's domain has eight digits.
func bus(s string) string {
	s = strings.ToLower(s)
	if domain, rest, ok := strings.Cut(s, ":"); ok && len(domain) == 8 {
		return strings.TrimPrefix(domain, "0000") + ":" + rest
	}
	return s
}

// numa returns the node of the machine that the device at a bus is next to.
func (c *Cards) numa(bus string) int32 {
	if bus == "" {
		return -1
	}
	b, err := os.ReadFile(filepath.Join(c.o.Root, "sys/bus/pci/devices", bus, "numa_node"))
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return -1
	}
	return int32(n)
}

// health finds what the driver knows to make a card unfit for new tasks.
func (c *card) health() {
	if pending, ret := ask(c.handle.GetRetiredPagesPendingStatus); ret == nvml.SUCCESS && pending == nvml.FEATURE_ENABLED {
		c.ill("memory pages wait to be retired: reset the card")
	}
	type rows struct{ pending, failed bool }
	r, ret := ask(func() (rows, nvml.Return) {
		_, _, pending, failed, ret := c.handle.GetRemappedRows()
		return rows{pending, failed}, ret
	})
	if ret == nvml.SUCCESS && r.failed {
		c.ill("memory rows could not be remapped: replace the card")
	} else if ret == nvml.SUCCESS && r.pending {
		c.ill("memory rows wait to be remapped: reset the card")
	}
}

// remembered adds what was heard of a card earlier, and what its counters say
// against the last look.
func (c *Cards) remembered(one *card) {
	id := one.device.ID
	if n, ret := ask(func() (uint64, nvml.Return) {
		return one.handle.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	}); ret == nvml.SUCCESS {
		if before, known := c.uncorrectable[id]; known && n > before {
			c.events[id] = fmt.Sprintf("%d new memory errors that could not be corrected", n-before)
		}
		c.uncorrectable[id] = n
	}
	if why := c.events[id]; why != "" {
		one.ill(why)
	}
}

func (c *card) ill(why string) {
	if c.device.Healthy {
		c.device.Healthy, c.device.Detail = false, why
	}
}

// partitions returns the parts of a card that is divided (MIG), each a device
// of its own. What makes the card ill makes its partitions ill.
func (c *Cards) partitions(whole *card) (parts []*card, divided bool) {
	mode, ret := ask(func() (int, nvml.Return) {
		current, _, ret := whole.handle.GetMigMode()
		return current, ret
	})
	if ret != nvml.SUCCESS || mode != nvml.DEVICE_MIG_ENABLE {
		return nil, false
	}
	most, ret := ask(whole.handle.GetMaxMigDeviceCount)
	if ret != nvml.SUCCESS {
		return nil, true
	}
	for i := range most {
		h, ret := ask(func() (nvml.Device, nvml.Return) { return whole.handle.GetMigDeviceHandleByIndex(i) })
		if ret != nvml.SUCCESS {
			continue // there may be fewer than most
		}
		id, ret := ask(h.GetUUID)
		if ret != nvml.SUCCESS {
			continue
		}
		p := &card{handle: h, minor: whole.minor, gi: -1, ci: -1, device: whole.device}
		p.device.ID, p.device.Kind, p.device.Parent, p.device.Shared = id, "mig", whole.device.ID, false
		// Partitions are not linked: NVLink is off for a divided card.
		p.device.Group = ""
		p.device.Resource = partition + strings.NewReplacer(".", "-", "+", "-", "_", "-").Replace(profile(h))
		if memory, ret := ask(h.GetMemoryInfo); ret == nvml.SUCCESS {
			p.device.Mem = int64(memory.Total)
		}
		if gi, ret := ask(h.GetGpuInstanceId); ret == nvml.SUCCESS {
			p.gi = gi
		}
		if ci, ret := ask(h.GetComputeInstanceId); ret == nvml.SUCCESS {
			p.ci = ci
		}
		if why := c.events[id]; why != "" {
			p.ill(why)
		}
		parts = append(parts, p)
	}
	return parts, true
}

// profile returns the name of a partition's profile, such as "1g.10gb".
func profile(h nvml.Device) string {
	if name, ret := ask(h.GetName); ret == nvml.SUCCESS {
		if _, profile, ok := strings.Cut(name, " MIG "); ok && profile != "" {
			return strings.ToLower(profile)
		}
	}
	if a, ret := ask(h.GetAttributes); ret == nvml.SUCCESS {
		return fmt.Sprintf("%dg.%dgb", a.GpuInstanceSliceCount, (a.MemorySizeMB+1023)/1024)
	}
	return "unknown"
}
