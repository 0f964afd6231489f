package bundle

import (
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// Node is what a device node of the host is.
type Node struct {
	Block        bool // else a character device
	Major, Minor int64
}

// devices shows a task the device nodes it was given, and lets it use those. The
// nodes are the host's own, mounted: in user namespaces none can be made.
func devices(spec *specs.Spec, s *isolation.Spec, h Host) error {
	if len(h.Nodes) != len(s.Devices) {
		return sdk.Errorf(sdk.Internal, "task/"+string(s.ID), "%d device nodes were looked up for %d devices", len(h.Nodes), len(s.Devices))
	}
	for i, d := range s.Devices {
		if !strings.HasPrefix(d.Path, "/dev/") || path.Clean(d.Path) != d.Path {
			return sdk.Errorf(sdk.Invalid, "task/"+string(s.ID), "a device cannot be at %q", d.Path).At("devices").
				ToFix("give it a path below /dev")
		}
		if d.Access == "" || strings.Trim(d.Access, "rwm") != "" {
			return sdk.Errorf(sdk.Invalid, "task/"+string(s.ID), "%q is no access to a device", d.Access).At("devices").
				ToFix("write it with the letters r, w and m")
		}
		n := h.Nodes[i]
		kind := "c"
		if n.Block {
			kind = "b"
		}
		spec.Linux.Resources.Devices = append(spec.Linux.Resources.Devices,
			specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: &n.Major, Minor: &n.Minor, Access: d.Access})
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: d.Path, Type: "bind", Source: d.Host,
			Options: []string{"bind", "nosuid", "noexec"}})
	}
	return nil
}
