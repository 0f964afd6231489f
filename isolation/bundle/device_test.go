package bundle

import (
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

func TestDevices(t *testing.T) {
	s := base()
	s.Devices = []isolation.Device{{Host: "/root/dev/nvidia5", Path: "/dev/nvidia5", Access: "rw"}}
	h := Host{Nodes: []Node{{Major: 195, Minor: 5}}}
	plain, err := Spec(base(), &base().Program, User{}, Host{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Spec(s, &s.Program, User{}, h)
	if err != nil {
		t.Fatal(err)
	}
	major, minor := int64(195), int64(5)
	plain.Linux.Resources.Devices = append(plain.Linux.Resources.Devices, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &major, Minor: &minor, Access: "rw"})
	if !reflect.DeepEqual(got.Linux.Resources.Devices, plain.Linux.Resources.Devices) {
		t.Errorf("rules %+v", got.Linux.Resources.Devices)
	}
	last := got.Mounts[len(got.Mounts)-1]
	if len(got.Mounts) != len(plain.Mounts)+1 || last.Source != "/root/dev/nvidia5" || last.Destination != "/dev/nvidia5" {
		t.Errorf("mounts end in %+v", last)
	}
	for _, d := range []isolation.Device{
		{Host: "/dev/x", Path: "/etc/x", Access: "rw"}, {Host: "/dev/x", Path: "/dev/../etc/x", Access: "rw"},
		{Host: "/dev/x", Path: "/dev/x"}, {Host: "/dev/x", Path: "/dev/x", Access: "rwx"},
	} {
		s.Devices = []isolation.Device{d}
		if _, err := Spec(s, &s.Program, User{}, h); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%+v: %v", d, err)
		}
	}
}
