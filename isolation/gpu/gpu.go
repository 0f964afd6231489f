// Package gpu finds a node's GPUs, watches over them and hands them to tasks.
//
// It asks NVIDIA's own library, which comes with the driver and is loaded when
// it is there; a machine without it has no GPUs, and that is no error. What a
// task gets of the driver is described in the form of the Container Device
// Interface (package isolation/cdi), as for devices of every other maker.
//
// The library is loaded by the C runtime at run time, so this package cannot
// be part of a static program: the keeper does without it.
package gpu

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/drupe-os/drupe/sdk"
)

// Resources that GPUs are devices of, beside sdk.GPUs.
const (
	// Shared is the resource of whole GPUs that tasks use in parts.
	Shared = "gpus-shared"
	// partition begins the resource of partitions: "mig-1g-10gb".
	partition = "mig-"
)

// Options say how to look. The zero value is right for most machines.
type Options struct {
	// Share offers whole GPUs in parts, as "gpus-shared", in place of "gpus". A
	// card is in one mode only.
	Share bool
	// Root is the folder under which dev, proc and sys are; "": "/".
	Root string
	// Driver is the root folder of the driver's files; "": Root, or where a
	// driver in a container puts them (run/nvidia/driver).
	Driver string

	lib nvml.Interface // of tests
}

// Found is what is known of the GPUs at one time.
type Found struct {
	// Devices by id: whole GPUs, and in place of a partitioned one its
	// partitions. One that was there and is gone stays, as not healthy.
	Devices []sdk.Device
	// Attributes of the machine, by name: gpu.count, gpu.cuda, gpu.compute,
	// gpu.driver, gpu.mem, gpu.model, gpu.nvlink. None without GPUs.
	Attributes []sdk.Attribute
	// Note tells people how many GPUs there are, or why none.
	Note string
}

// Cards are the GPUs of this machine. Methods may be called concurrently.
type Cards struct {
	o   Options
	lib nvml.Interface

	mu    sync.Mutex
	open  bool
	found Found
	// seen are all cards and partitions ever found, by id; those that do not
	// answer any more have no handle.
	seen map[string]*card
	// events is why a card became unfit, by id, until the program ends: the
	// driver does not remember.
	events map[string]string
	// uncorrectable is the count of memory errors at the last look.
	uncorrectable map[string]uint64
}

// New returns the machine's GPUs. Nothing is looked at yet.
func New(o Options) *Cards {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.lib == nil {
		o.lib = nvml.New()
	}
	return &Cards{o: o, lib: o.lib, seen: map[string]*card{}, events: map[string]string{}, uncorrectable: map[string]uint64{}}
}

// Look finds the GPUs and their health. Errors: Unavailable when there is a
// driver but it does not answer.
func (c *Cards) Look() (Found, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.look()
}

func (c *Cards) look() (Found, error) {
	if !c.open {
		switch ret, _ := ask(func() (nvml.Return, nvml.Return) { r := c.lib.Init(); return r, r }); ret {
		case nvml.SUCCESS:
			c.open = true
		case nvml.ERROR_LIBRARY_NOT_FOUND:
			return Found{Note: "none: no NVIDIA driver is installed"}, nil
		case nvml.ERROR_DRIVER_NOT_LOADED:
			return Found{Note: "none: the NVIDIA driver is installed but not loaded"}, nil
		default:
			return Found{}, sdk.Errorf(sdk.Unavailable, "gpu", "the driver does not answer").Because("%s", message(ret)).
				ToFix("look at the output of nvidia-smi and at the kernel's log")
		}
	}
	n, ret := ask(c.lib.DeviceGetCount)
	if ret != nvml.SUCCESS {
		return Found{}, sdk.Errorf(sdk.Unavailable, "gpu", "cannot be counted").Because("%s", message(ret))
	}
	var cards []*card
	var notes []string
	for i := range n {
		handle, ret := ask(func() (nvml.Device, nvml.Return) { return c.lib.DeviceGetHandleByIndex(i) })
		if ret != nvml.SUCCESS {
			// A card that has fallen off the bus has no id to offer; the others
			// are not to suffer for it.
			notes = append(notes, fmt.Sprintf("number %d does not answer: %s", i, message(ret)))
			continue
		}
		one, ret := c.card(handle)
		if ret != nvml.SUCCESS {
			notes = append(notes, fmt.Sprintf("number %d has no id: %s", i, message(ret)))
			continue
		}
		cards = append(cards, one)
	}
	group(cards)
	for _, s := range c.seen {
		s.gone = true
	}
	for _, one := range cards {
		parts, divided := c.partitions(one)
		if !divided {
			c.seen[one.device.ID] = one
			continue
		}
		delete(c.seen, one.device.ID)
		if len(parts) == 0 {
			notes = append(notes, one.device.ID+" is to be partitioned (MIG) and has no partitions")
		}
		for _, p := range parts {
			c.seen[p.device.ID] = p
		}
	}
	c.found = Found{Attributes: c.attributes(cards)}
	for _, s := range c.seen {
		if s.gone {
			s.device.Healthy, s.device.Detail = false, "it does not answer any more: it fell off the bus, or was taken out"
			if s.device.Kind == "mig" {
				s.device.Detail = "the partition is not there any more"
			}
		}
		c.found.Devices = append(c.found.Devices, s.device)
	}
	slices.SortFunc(c.found.Devices, func(a, b sdk.Device) int { return cmp.Compare(a.ID, b.ID) })
	c.found.Note = strings.Join(append([]string{fmt.Sprintf("%d found", len(c.found.Devices))}, notes...), "; ")
	return c.found, nil
}

// attributes are what placement may ask for, by name. Where cards differ, it is
// the first one's.
func (c *Cards) attributes(cards []*card) []sdk.Attribute {
	if len(cards) == 0 {
		return nil
	}
	first := cards[0]
	linked := slices.ContainsFunc(cards, func(c *card) bool { return strings.HasPrefix(c.device.Group, nvlink) })
	list := []sdk.Attribute{
		{Name: "gpu.count", Value: strconv.Itoa(len(cards))},
		{Name: "gpu.mem", Value: strconv.FormatInt(first.device.Mem>>20, 10)},
		{Name: "gpu.model", Value: first.device.Model},
		{Name: "gpu.nvlink", Value: strconv.FormatBool(linked)},
	}
	if v, ret := ask(c.lib.SystemGetDriverVersion); ret == nvml.SUCCESS {
		list = append(list, sdk.Attribute{Name: "gpu.driver", Value: v})
	}
	if v, ret := ask(c.lib.SystemGetCudaDriverVersion); ret == nvml.SUCCESS {
		list = append(list, sdk.Attribute{Name: "gpu.cuda", Value: fmt.Sprintf("%d.%d", v/1000, v%1000/10)})
	}
	type version struct{ major, minor int }
	v, ret := ask(func() (version, nvml.Return) {
		major, minor, ret := first.handle.GetCudaComputeCapability()
		return version{major, minor}, ret
	})
	if ret == nvml.SUCCESS {
		list = append(list, sdk.Attribute{Name: "gpu.compute", Value: fmt.Sprintf("%d.%d", v.major, v.minor)})
	}
	slices.SortFunc(list, func(a, b sdk.Attribute) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Close lets go of the driver.
func (c *Cards) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open {
		c.open = false
		ask(func() (struct{}, nvml.Return) { return struct{}{}, c.lib.Shutdown() })
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
func message(ret nvml.Return) string {
	switch ret {
	case nvml.ERROR_GPU_IS_LOST:
		return "it is lost"
	case nvml.ERROR_NO_PERMISSION:
		return "not permitted"
	case nvml.ERROR_LIB_RM_VERSION_MISMATCH:
		return "the driver's library and its kernel module are of different versions: restart the machine"
	}
	return fmt.Sprintf("NVML error %d", int32(ret))
}

func text(b []uint8) string {
	if i := slices.Index(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
