package gpu

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"github.com/drupe-os/drupe/sdk"
)

// hearing gives a recorded server events: those sent to the channel.
func hearing(s *dgxa100.Server) chan<- nvml.EventData {
	events := make(chan nvml.EventData)
	set := &mock.EventSet{
		FreeFunc: func() nvml.Return { return nvml.SUCCESS },
		WaitFunc: func(ms uint32) (nvml.EventData, nvml.Return) {
			select {
			case e := <-events:
				return e, nvml.SUCCESS
			case <-time.After(time.Duration(ms) * time.Millisecond):
				return nvml.EventData{}, nvml.ERROR_TIMEOUT
			}
		},
	}
	s.EventSetCreateFunc = func() (nvml.EventSet, nvml.Return) { return set, nvml.SUCCESS }
	for i := range s.Devices {
		device(s, i).RegisterEventsFunc = func(uint64, nvml.EventSet) nvml.Return { return nvml.SUCCESS }
	}
	return events
}

// watching runs f while a watcher sends to found.
func watching(t *testing.T, s *dgxa100.Server, f func(found <-chan Found)) {
	t.Helper()
	c := New(Options{lib: s})
	if _, err := c.Look(); err != nil {
		t.Fatal(err)
	}
	found := make(chan Found, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		c.Watch(ctx, 10*time.Second, func(f Found) { found <- f })
		close(done)
	}()
	synctest.Wait()
	f(found)
	cancel()
	<-done
}

func ill(f Found) (list []sdk.Device) {
	for _, d := range f.Devices {
		if !d.Healthy {
			list = append(list, d)
		}
	}
	return list
}

func TestXID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dgxa100.New()
		events := hearing(s)
		watching(t, s, func(found <-chan Found) {
			for xid := range application {
				events <- nvml.EventData{Device: device(s, 1), EventType: nvml.EventTypeXidCriticalError, EventData: xid}
			}
			synctest.Wait()
			if len(found) != 0 {
				t.Errorf("a program's fault is held against the card: %+v", ill(<-found))
			}
			before := time.Now()
			events <- nvml.EventData{Device: device(s, 5), EventType: nvml.EventTypeXidCriticalError, EventData: 79, GpuInstanceId: wide, ComputeInstanceId: wide}
			list := ill(<-found)
			if len(list) != 1 || list[0].ID != device(s, 5).UUID || !strings.Contains(list[0].Detail, "XID 79") {
				t.Errorf("after XID 79: %+v", list)
			}
			if time.Since(before) > time.Second {
				t.Errorf("noticed after %s", time.Since(before))
			}
			events <- nvml.EventData{Device: device(s, 6), EventType: nvml.EventTypeDoubleBitEccError}
			if list := ill(<-found); len(list) != 2 {
				t.Errorf("after a double-bit error: %+v", list)
			}
			// Nothing new, nothing said.
			time.Sleep(time.Minute)
			if len(found) != 0 {
				t.Error("told the same again")
			}
		})
	})
}

func TestLostWhileWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dgxa100.New()
		watching(t, s, func(found <-chan Found) {
			id := device(s, 2).UUID
			device(s, 2).GetUUIDFunc = func() (string, nvml.Return) { return "", nvml.ERROR_GPU_IS_LOST }
			f := <-found
			list := ill(f)
			if len(f.Devices) != 8 || len(list) != 1 || list[0].ID != id || !strings.Contains(list[0].Detail, "fell off the bus") {
				t.Errorf("%+v", list)
			}
			device(s, 2).GetUUIDFunc = func() (string, nvml.Return) { return id, nvml.SUCCESS }
			if list := ill(<-found); len(list) != 0 {
				t.Errorf("back again: %+v", list)
			}
			// Errors that were there before the agent are history; new ones are not.
			n := uint64(7)
			device(s, 4).GetTotalEccErrorsFunc = func(nvml.MemoryErrorType, nvml.EccCounterType) (uint64, nvml.Return) { return n, nvml.SUCCESS }
			time.Sleep(11 * time.Second)
			n = 9
			if list := ill(<-found); len(list) != 1 || !strings.Contains(list[0].Detail, "2 new memory errors") {
				t.Errorf("ECC: %+v", list)
			}
		})
	})
}

// Without a driver there is nothing to watch, and ending works.
func TestWatchNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dgxa100.New()
		s.InitFunc = func() nvml.Return { return nvml.ERROR_LIBRARY_NOT_FOUND }
		watching(t, s, func(found <-chan Found) {
			time.Sleep(time.Minute)
			if len(found) != 0 {
				t.Error("something changed")
			}
			s.InitFunc = func() nvml.Return { return nvml.SUCCESS }
			if f := <-found; len(f.Devices) != 8 {
				t.Errorf("after the driver was loaded: %d", len(f.Devices))
			}
		})
	})
}

// divide turns MIG on for a card and gives it partitions.
func divide(s *dgxa100.Server, i int, profiles ...string) {
	d := device(s, i)
	d.MigMode = nvml.DEVICE_MIG_ENABLE
	d.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 7, nvml.SUCCESS }
	d.GetMigDeviceHandleByIndexFunc = func(n int) (nvml.Device, nvml.Return) {
		if n >= len(profiles) {
			return nil, nvml.ERROR_NOT_FOUND
		}
		p := &mock.Device{
			GetUUIDFunc:              func() (string, nvml.Return) { return "MIG-" + d.UUID + profiles[n], nvml.SUCCESS },
			GetNameFunc:              func() (string, nvml.Return) { return d.Name + " MIG " + profiles[n], nvml.SUCCESS },
			GetMemoryInfoFunc:        func() (nvml.Memory, nvml.Return) { return nvml.Memory{Total: 5 << 30}, nvml.SUCCESS },
			GetGpuInstanceIdFunc:     func() (int, nvml.Return) { return n + 1, nvml.SUCCESS },
			GetComputeInstanceIdFunc: func() (int, nvml.Return) { return 0, nvml.SUCCESS },
		}
		return p, nvml.SUCCESS
	}
}

func TestMIG(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dgxa100.New()
		divide(s, 3, "1g.5gb", "2g.10gb+me")
		divide(s, 4)
		events := hearing(s)
		f, err := New(Options{lib: s}).Look()
		if err != nil || len(f.Devices) != 8 || !strings.Contains(f.Note, "no partitions") {
			t.Fatalf("%d devices, %q, %v", len(f.Devices), f.Note, err)
		}
		got := map[string]sdk.Device{}
		for _, d := range f.Devices {
			got[d.Resource] = d
			if d.ID == device(s, 3).UUID || d.ID == device(s, 4).UUID {
				t.Error("a divided card is a device itself")
			}
		}
		for _, r := range []string{"mig-1g-5gb", "mig-2g-10gb-me"} {
			d := got[r]
			if d.Kind != "mig" || d.Parent != device(s, 3).UUID || d.Mem != 5<<30 || !d.Healthy || d.Shared {
				t.Errorf("%s: %+v", r, d)
			}
		}
		s.DeviceGetHandleByUUIDFunc = func(string) (nvml.Device, nvml.Return) { return device(s, 3), nvml.SUCCESS }
		watching(t, s, func(found <-chan Found) {
			events <- nvml.EventData{Device: device(s, 3), EventType: nvml.EventTypeXidCriticalError, EventData: 48, GpuInstanceId: 2, ComputeInstanceId: wide}
			if list := ill(<-found); len(list) != 1 || list[0].Resource != "mig-2g-10gb-me" {
				t.Errorf("an event of one partition: %+v", list)
			}
		})
	})
}

func TestShared(t *testing.T) {
	s := dgxa100.New()
	divide(s, 0, "7g.40gb")
	f, err := New(Options{lib: s, Share: true}).Look()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Devices {
		whole := d.Kind == "gpu"
		if d.Shared != whole || whole != (d.Resource == Shared) {
			t.Errorf("%+v", d)
		}
	}
}

func TestTopologyAndAttributes(t *testing.T) {
	s := dgxa100.New()
	for i := range s.Devices {
		device(s, i).GetTopologyCommonAncestorFunc = func(o nvml.Device) (nvml.GpuTopologyLevel, nvml.Return) {
			if o.(*dgxa100.Device).Index/4 == i/4 {
				return nvml.TOPOLOGY_SINGLE, nvml.SUCCESS
			}
			return nvml.TOPOLOGY_SYSTEM, nvml.SUCCESS
		}
	}
	c := New(Options{lib: s})
	f, err := c.Look()
	if err != nil {
		t.Fatal(err)
	}
	for i := range s.Devices {
		want := pcie + string(rune('0'+i/4))
		for _, d := range f.Devices {
			if d.ID == device(s, i).UUID && d.Group != want {
				t.Errorf("card %d is in %q, not %q", i, d.Group, want)
			}
		}
	}
	var text []string
	for _, a := range f.Attributes {
		text = append(text, a.Name+"="+a.Value)
	}
	want := "gpu.compute=8.0 gpu.count=8 gpu.cuda=12.4 gpu.driver=550.54.15 gpu.mem=40960 gpu.model=Mock NVIDIA A100-SXM4-40GB gpu.nvlink=false"
	if got := strings.Join(text, " "); got != want {
		t.Errorf("%s\nnot %s", got, want)
	}
	device(s, 0).GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 61, nvml.SUCCESS }
	n := 0
	for _, r := range c.Readings() {
		if r.ID == device(s, 0).UUID && r.Temperature != 61 || r.Busy != -1 {
			t.Errorf("%+v", r)
		}
		n++
	}
	if n != 8 {
		t.Errorf("%d readings", n)
	}
}
