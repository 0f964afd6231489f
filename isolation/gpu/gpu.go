// Package gpu finds a node's GPUs: which there are, how much memory they have,
// which of them are linked, and whether they are well. It asks NVIDIA's own
// library, which comes with the driver and is loaded when it is there; a
// machine without it has no GPUs, and that is no error.
//
// The library is loaded by the C runtime at run time, so this package cannot
// be part of a static program: the keeper does without it.
package gpu

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/drupe-os/drupe/sdk"
)

// Discover returns the machine's GPUs, ordered by id. Without a driver there
// are none. Errors: Unavailable when there is a driver but it does not answer.
func Discover() ([]sdk.Device, error) {
	devices, _, err := Survey()
	return devices, err
}

// Survey is Discover with a note for people: how many GPUs, or why none.
func Survey() (devices []sdk.Device, note string, err error) { return survey(nvml.New()) }

func survey(lib nvml.Interface) (devices []sdk.Device, note string, err error) {
	switch ret := lib.Init(); ret {
	case nvml.SUCCESS:
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return nil, "none: no NVIDIA driver is installed", nil
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return nil, "none: the NVIDIA driver is installed but not loaded", nil
	default:
		return nil, "", sdk.Errorf(sdk.Unavailable, "gpu", "the driver does not answer").Because("%s", message(ret))
	}
	defer lib.Shutdown()
	n, ret := lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, "", sdk.Errorf(sdk.Unavailable, "gpu", "cannot be counted").Because("%s", message(ret))
	}
	var cards []*card
	for i := range n {
		handle, ret := lib.DeviceGetHandleByIndex(i)
		if ret != nvml.SUCCESS {
			// A card that has fallen off the bus has no id to offer; the others
			// are not to suffer for it.
			note += fmt.Sprintf("; number %d does not answer: %s", i, message(ret))
			continue
		}
		c, ret := look(handle)
		if ret != nvml.SUCCESS {
			note += fmt.Sprintf("; number %d has no id: %s", i, message(ret))
			continue
		}
		cards = append(cards, c)
	}
	group(cards)
	devices = make([]sdk.Device, 0, len(cards))
	for _, c := range cards {
		devices = append(devices, c.device)
	}
	slices.SortFunc(devices, func(a, b sdk.Device) int { return cmp.Compare(a.ID, b.ID) })
	return devices, fmt.Sprintf("%d found", len(devices)) + note, nil
}

// card is one GPU while the machine is looked at.
type card struct {
	handle nvml.Device
	device sdk.Device
	bus    string
}

// look reads what identifies a card, and its health.
func look(h nvml.Device) (*card, nvml.Return) {
	id, ret := ask(h.GetUUID)
	if ret != nvml.SUCCESS {
		return nil, ret
	}
	c := &card{handle: h, device: sdk.Device{ID: id, Kind: "gpu", Healthy: true}}
	if name, ret := ask(h.GetName); ret == nvml.SUCCESS {
		c.device.Model = name
	}
	memory, ret := ask(h.GetMemoryInfo)
	if ret == nvml.SUCCESS {
		c.device.Mem = int64(memory.Total)
	} else {
		c.ill("its memory cannot be read: " + message(ret))
	}
	if pci, ret := ask(h.GetPciInfo); ret == nvml.SUCCESS {
		c.bus = text(pci.BusId[:])
	}
	health(c)
	return c, nvml.SUCCESS
}

// health finds what makes a card unfit for new tasks.
func health(c *card) {
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
	current, ret := ask(func() (int, nvml.Return) {
		current, _, ret := c.handle.GetMigMode()
		return current, ret
	})
	if ret == nvml.SUCCESS && current == nvml.DEVICE_MIG_ENABLE {
		c.ill("it is partitioned (MIG), and partitions are not handed out: turn MIG off")
	}
}

func (c *card) ill(why string) {
	if c.device.Healthy {
		c.device.Healthy, c.device.Detail = false, why
	}
}

// ask calls a function of the library. Drivers lack some of them and go-nvml
// panics for those: they then are not supported.
func ask[T any](f func() (T, nvml.Return)) (v T, ret nvml.Return) {
	defer func() {
		if recover() != nil {
			ret = nvml.ERROR_NOT_SUPPORTED
		}
	}()
	return f()
}

// message returns what ret means. nvml.ErrorString needs the library itself.
func message(ret nvml.Return) string { return fmt.Sprintf("NVML error %d", int32(ret)) }

func text(b []uint8) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
