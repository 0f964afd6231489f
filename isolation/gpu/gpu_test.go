package gpu

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"github.com/drupe-os/drupe/sdk"
)

// Whatever this machine has, looking is no error.
func TestThisMachine(t *testing.T) {
	c := New(Options{})
	defer c.Close()
	f, err := c.Look()
	devices, note := f.Devices, f.Note
	if err != nil || note == "" {
		t.Fatalf("%v, note %q", err, note)
	}
	if len(devices) == 0 && !strings.HasPrefix(note, "none: ") && !strings.HasPrefix(note, "0 found") {
		t.Errorf("note %q", note)
	}
	t.Log(note, devices)
}

// survey is a first look at a recorded server.
func survey(s *dgxa100.Server) ([]sdk.Device, string, error) {
	f, err := New(Options{lib: s}).Look()
	return f.Devices, f.Note, err
}

func device(s *dgxa100.Server, i int) *dgxa100.Device { return s.Devices[i].(*dgxa100.Device) }

func TestDGX(t *testing.T) {
	devices, note, err := survey(dgxa100.New())
	if err != nil || note != "8 found" || len(devices) != 8 {
		t.Fatalf("%d devices, %q, %v", len(devices), note, err)
	}
	if !slices.IsSortedFunc(devices, func(a, b sdk.Device) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("not in order")
	}
	for _, d := range devices {
		if d.Kind != "gpu" || !d.Healthy || d.Mem < 39<<30 || !strings.Contains(d.Model, "A100") || !strings.HasPrefix(d.ID, "GPU-") || d.Group != "" {
			t.Errorf("%+v", d)
		}
	}
}

func TestHealth(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(*dgxa100.Device)
		want string
	}{
		{"well", func(*dgxa100.Device) {}, ""},
		{"retiring", func(d *dgxa100.Device) {
			d.GetRetiredPagesPendingStatusFunc = func() (nvml.EnableState, nvml.Return) { return nvml.FEATURE_ENABLED, nvml.SUCCESS }
		}, "retired"},
		{"remapping", func(d *dgxa100.Device) {
			d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 1, true, false, nvml.SUCCESS }
		}, "reset the card"},
		{"broken", func(d *dgxa100.Device) {
			d.GetRemappedRowsFunc = func() (int, int, bool, bool, nvml.Return) { return 0, 1, true, true, nvml.SUCCESS }
		}, "replace the card"},
		{"memory", func(d *dgxa100.Device) {
			d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }
		}, "memory cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := dgxa100.New()
			d := device(s, 3)
			tt.edit(d)
			devices, _, err := survey(s)
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range devices {
				bad := got.ID == d.UUID && tt.want != ""
				if got.Healthy == bad || bad && !strings.Contains(got.Detail, tt.want) {
					t.Errorf("%+v", got)
				}
			}
		})
	}
}

// Cards 0-1-2 hang together in a row, 4-5 by themselves, 6 and 7 by a switch.
func TestLinks(t *testing.T) {
	s := dgxa100.New()
	bus := func(i int) (p nvml.PciInfo) {
		copy(p.BusId[:], fmt.Sprintf("00000000:%02d:00.0", i))
		return p
	}
	links := map[int][]int{0: {1}, 1: {0, 2}, 2: {1}, 4: {5}, 5: {4}, 6: {-1}, 7: {-1, -1}}
	for i := range s.Devices {
		d := device(s, i)
		d.GetPciInfoFunc = func() (nvml.PciInfo, nvml.Return) { return bus(i), nvml.SUCCESS }
		d.GetNvLinkStateFunc = func(l int) (nvml.EnableState, nvml.Return) {
			if l >= len(links[i]) {
				return 0, nvml.ERROR_INVALID_ARGUMENT
			}
			return nvml.FEATURE_ENABLED, nvml.SUCCESS
		}
		d.GetNvLinkRemoteDeviceTypeFunc = func(l int) (nvml.IntNvLinkDeviceType, nvml.Return) {
			if links[i][l] < 0 {
				return nvml.NVLINK_DEVICE_TYPE_SWITCH, nvml.SUCCESS
			}
			return nvml.NVLINK_DEVICE_TYPE_GPU, nvml.SUCCESS
		}
		d.GetNvLinkRemotePciInfoFunc = func(l int) (nvml.PciInfo, nvml.Return) { return bus(links[i][l]), nvml.SUCCESS }
	}
	devices, _, err := survey(s)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, d := range devices {
		got[d.ID] = d.Group
	}
	var groups []string
	for i := range s.Devices {
		groups = append(groups, got[device(s, i).UUID])
	}
	want := []string{"nvlink-0", "nvlink-0", "nvlink-0", "", "nvlink-1", "nvlink-1", "nvlink-2", "nvlink-2"}
	if !slices.Equal(groups, want) {
		t.Errorf("groups %q, want %q", groups, want)
	}
}

func TestDriverTrouble(t *testing.T) {
	s := dgxa100.New()
	s.InitFunc = func() nvml.Return { return nvml.ERROR_LIBRARY_NOT_FOUND }
	if d, note, err := survey(s); len(d) > 0 || err != nil || !strings.HasPrefix(note, "none: ") {
		t.Errorf("no library: %v, %q, %v", d, note, err)
	}
	s.InitFunc = func() nvml.Return { return nvml.ERROR_UNKNOWN }
	if _, _, err := survey(s); sdk.KindOf(err) != sdk.Unavailable {
		t.Errorf("a driver that fails: %v", err)
	}
	s = dgxa100.New()
	lost := device(s, 2).UUID
	device(s, 2).GetUUIDFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
	d, note, err := survey(s)
	if len(d) != 7 || err != nil || !strings.Contains(note, "number 2 has no id") {
		t.Errorf("one card lost (%s): %d, %q, %v", lost, len(d), note, err)
	}
}
