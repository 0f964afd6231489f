package bundle

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
)

// What of /proc and /sys tells of the host, or would change it.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
		"/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{
		"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
	}
)

// maxTerminals bounds a container's terminals, of which the machine has some
// thousand for all containers together.
const maxTerminals = "max=256"

func mounts(s *isolation.Spec, p *isolation.Program, h Host) []specs.Mount {
	var list []specs.Mount
	if p.HostRoot {
		list = slices.Clone(hidden)
	}
	list = append(list, []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "strictatime", "mode=755", "size=64k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", maxTerminals}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=64m"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
	}...)
	list = slices.DeleteFunc(list, func(m specs.Mount) bool {
		switch m.Destination {
		case "/dev/mqueue":
			// The queues of the host's IPC namespace are not a container's to mount.
			return s.HostIPC && h.IDs.Size > 0
		case "/dev/shm":
			return slices.ContainsFunc(s.Mounts, func(v isolation.Mount) bool { return v.Path == m.Destination })
		}
		return false
	})
	for i, m := range list {
		switch source := h.instead(s, m.Destination); {
		case source == "":
		case m.Destination == "/proc":
			list[i].Type, list[i].Source, list[i].Options = "bind", source, []string{"bind", "nosuid", "noexec", "nodev", "ro"}
		default:
			list[i].Type, list[i].Source, list[i].Options = "bind", source, []string{"bind", "nosuid", "noexec", "nodev"}
		}
	}
	if h.IDs.Size > 0 && !s.PrivateNetwork {
		// The kernel mounts a new sysfs only for the owner of the network
		// namespace. A container in the host's gets the host's.
		list = append(list, specs.Mount{Destination: "/sys", Type: "bind", Source: h.Sys, Options: []string{"bind", "ro", "nosuid", "noexec", "nodev"}})
	} else {
		list = append(list, specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro", "nosuid", "noexec", "nodev"}})
	}
	// With a cgroup namespace this shows the container's own limits only:
	// runtimes size their heaps and thread pools by them.
	list = append(list, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}})
	for _, f := range h.Files {
		list = append(list, specs.Mount{Destination: f, Type: "bind", Source: f, Options: []string{"bind", "ro", "nosuid", "noexec", "nodev"}})
	}
	return list
}

// instead is the source of a mount that is the host's or the whole task's; "":
// the container has its own.
func (h Host) instead(s *isolation.Spec, destination string) string {
	switch {
	case destination == "/proc" && s.HostPID:
		return h.Proc
	case destination == "/dev/shm" && s.HostIPC:
		return "/dev/shm"
	case destination == "/dev/shm":
		return h.Shm
	}
	return ""
}
