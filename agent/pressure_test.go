package agent

import (
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func TestSpaceUsed(t *testing.T) {
	for _, tt := range []struct {
		s    Space
		want int
	}{{Space{}, 0}, {Space{100, 100}, 0}, {Space{100, 5}, 95}, {Space{1 << 50, 0}, 100}} {
		if got := tt.s.used(); got != tt.want {
			t.Errorf("%+v: %d%%, want %d%%", tt.s, got, tt.want)
		}
	}
}

// TestFullDiskIsAnAttribute: what the servers are told follows the disk, and
// what the machine says of itself stays as it was.
func TestFullDiskIsAnAttribute(t *testing.T) {
	a := &Agent{}
	a.cfg.Machine.Attributes = []sdk.Attribute{{Name: "os", Value: "linux"}}
	if n := len(a.machine().Attributes); n != 1 {
		t.Fatalf("%d attributes", n)
	}
	a.pressure.full = "full"
	m := a.machine()
	if len(m.Attributes) != 2 || m.Attributes[1].Name != AttributeDiskPressure || len(a.cfg.Machine.Attributes) != 1 {
		t.Fatalf("%+v, %+v", m.Attributes, a.cfg.Machine.Attributes)
	}
}
