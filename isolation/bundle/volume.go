package bundle

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// hidden are the folders of the node that a task in its root file system has
// fresh ones in place of: what is there is other programs' own.
var hidden = []specs.Mount{
	{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
	{Destination: "/var/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
	{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755"}},
	{Destination: "/root", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=700"}},
	{Destination: "/home", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755"}},
}

// volumes shows a container the task's mounts, folders before what is in them.
// Errors: Invalid for places that no mount may have.
func volumes(spec *specs.Spec, s *isolation.Spec, h Host) error {
	if len(h.Mounts) != len(s.Mounts) {
		return sdk.Errorf(sdk.Internal, "task/"+string(s.ID), "%d sources for %d mounts", len(h.Mounts), len(s.Mounts))
	}
	if err := CheckMounts(s); err != nil {
		return err
	}
	var list []specs.Mount
	for i, m := range s.Mounts {
		options := []string{"bind", "nosuid", "nodev"}
		if m.ReadOnly {
			options = append(options, "ro")
		}
		list = append(list, specs.Mount{Destination: m.Path, Type: "bind", Source: h.Mounts[i], Options: options})
	}
	slices.SortStableFunc(list, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	spec.Mounts = append(spec.Mounts, list...)
	return nil
}

// CheckMounts refuses places that no mount may have. Errors: Invalid.
func CheckMounts(s *isolation.Spec) error {
	seen := map[string]bool{}
	for _, m := range s.Mounts {
		if err := checkMount(s, &m, seen); err != nil {
			return err
		}
	}
	return nil
}

func checkMount(s *isolation.Spec, m *isolation.Mount, seen map[string]bool) error {
	fault := func(cause, fix string) error {
		return sdk.Errorf(sdk.Invalid, "task/"+string(s.ID), "volume %q cannot be mounted at %q", m.Name, m.Path).At("volumes").
			Because("%s", cause).ToFix("%s", fix)
	}
	if !strings.HasPrefix(m.Path, "/") || path.Clean(m.Path) == "/" {
		return sdk.Errorf(sdk.Invalid, "task/"+string(s.ID), "%q is no place for volume %q", m.Path, m.Name).At("volumes").
			ToFix("give an absolute path below the root")
	}
	if in := within(m.Path); in != "" && !strings.HasPrefix(path.Clean(m.Path), "/dev/shm/") && !m.Trusted {
		return fault("what is mounted in "+in+" would take the place of what protects the node", "mount it at another path")
	}
	switch {
	case path.Clean(m.Path) != m.Path || strings.IndexByte(m.Path, 0) >= 0:
		return fault("that is no whole path", "write it from / without . and ..")
	case seen[m.Path]:
		return fault("another volume is there", "give each a path of its own")
	case (m.Host == "") == (m.Ephemeral == nil):
		return fault("it must be one of ephemeral and of the host", "say one of them")
	}
	seen[m.Path] = true
	return nil
}
