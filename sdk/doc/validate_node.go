package doc

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// rlimits are the names of setrlimit(2) without RLIMIT_.
var rlimits = []string{"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
	"nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}

func (c *checker) limits(t *Task) {
	l := t.Limits
	if l == nil {
		return
	}
	if mem := t.Resources.Get(sdk.Mem); l.Mem > 0 && l.Mem < mem {
		c.add(fmt.Sprintf("the limit of mem %s is below the %s it is promised", sdk.FormatBytes(l.Mem), sdk.FormatBytes(mem)),
			"", "raise limits.mem or lower resources.mem", "limits", "mem")
	}
	if cpus := t.Resources.Get(sdk.CPUs); l.CPUs > 0 && int64(l.CPUs) < cpus {
		c.add(fmt.Sprintf("the limit of %s cores is below the %s it is promised", sdk.FormatQuantity(sdk.CPUs, int64(l.CPUs)), sdk.FormatQuantity(sdk.CPUs, cpus)),
			"", "raise limits.cpus or lower resources.cpus", "limits", "cpus")
	}
	if disk := t.Resources.Get(sdk.Disk); l.Disk > 0 && l.Disk < disk {
		c.add(fmt.Sprintf("the limit of disk %s is below the %s it is promised", sdk.FormatBytes(l.Disk), sdk.FormatBytes(disk)),
			"", "raise limits.disk or lower resources.disk", "limits", "disk")
	}
	seen := map[string]bool{}
	for i, r := range l.Rlimits {
		at := func(field string) []string { return []string{"limits", "rlimits", strconv.Itoa(i), field} }
		if !slices.Contains(rlimits, r.Name) {
			c.add(fmt.Sprintf("%q is no resource limit", r.Name), strings.Join(rlimits, ", "), "", at("name")...)
		}
		if seen[r.Name] {
			c.add(fmt.Sprintf("%s is limited twice", r.Name), "", "keep one", at("name")...)
		}
		seen[r.Name] = true
		if r.Hard >= 0 && (r.Soft < 0 || r.Soft > r.Hard) {
			c.add("the soft limit is above the hard one", "", "lower soft or raise hard", at("soft")...)
		}
	}
	sizes := map[int64]bool{}
	for i, h := range l.Hugepages {
		if h.Size <= 0 || h.Size&(h.Size-1) != 0 {
			c.add(fmt.Sprintf("%d is not the size of a page", h.Size), "2Mi, 1Gi", "", "limits", "hugepages", strconv.Itoa(i), "size")
		} else if sizes[h.Size] {
			c.add("pages of this size are limited twice", "", "keep one", "limits", "hugepages", strconv.Itoa(i), "size")
		}
		sizes[h.Size] = true
	}
}

func (c *checker) cpuset(t *Task) {
	if t.CPUSet == nil {
		return
	}
	if cpus := t.Resources.Get(sdk.CPUs); t.CPUSet.Exclusive && (cpus == 0 || cpus%1000 != 0) {
		c.add("cores of its own are whole ones", "resources.cpus of 1, 2, 3, …", "round resources.cpus up", "cpuset", "exclusive")
	}
	if n := t.CPUSet.NUMA; n != "" && n != "any" && n != "single" {
		c.add(fmt.Sprintf("unknown numa %q", n), "any, single", "", "cpuset", "numa")
	}
}

func (c *checker) sidecars(t *Task) {
	for _, name := range slices.Sorted(maps.Keys(t.Sidecars)) {
		s := t.Sidecars[name]
		if !sdk.ValidName(name) {
			c.add(fmt.Sprintf("%q cannot be a sidecar's name", name), "1 to 63 of a-z, 0-9 and inner hyphens", "", "sidecars", name)
		}
		c.container(&s.Container, "sidecars", name, "container")
		if l := s.Limits; l != nil && (l.Swap != 0 || l.Disk != 0 || l.IO != nil || l.Hugepages != nil || l.Rlimits != nil) {
			c.add("a sidecar has limits of its own for cpus, mem and pids only", "cpus, mem, pids", "limit the task as a whole", "sidecars", name, "limits")
		}
	}
	if len(t.Sidecars) > 0 && t.Run.Container == nil {
		c.add("sidecars run beside a container", "", "run a container, or leave the sidecars out", "sidecars")
	}
}

func (c *checker) volumes(t *Task) {
	where := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(t.Volumes)) {
		v := t.Volumes[name]
		at := func(more ...string) []string { return append([]string{"volumes", name}, more...) }
		if !sdk.ValidName(name) {
			c.add(fmt.Sprintf("%q cannot be a volume's name", name), "1 to 63 of a-z, 0-9 and inner hyphens", "", at()...)
		}
		if v.Name != "" && v.Name != name {
			c.add(fmt.Sprintf("the volume is named %q and %q", name, v.Name), "", "leave name out: the key is the name", at("name")...)
		}
		switch clean := path.Clean(v.Path); {
		case !strings.HasPrefix(v.Path, "/") || clean == "/":
			c.add(fmt.Sprintf("%q is no place for a volume", v.Path), "an absolute path below \"/\"", "", at("path")...)
		case reserved(clean):
			c.add(fmt.Sprintf("%s is the system's own", v.Path), "", "mount the volume elsewhere", at("path")...)
		case where[clean] != "":
			c.add(fmt.Sprintf("the volume %q is mounted there too", where[clean]), "", "give each a path of its own", at("path")...)
		default:
			where[clean] = name
		}
		switch {
		case (v.Ephemeral != nil) == (v.Host != nil):
			c.add("a volume is of one kind", "exactly one of ephemeral, host", "write ephemeral: {}", at()...)
		case v.Host != nil && !strings.HasPrefix(v.Host.Path, "/"):
			c.add(fmt.Sprintf("%q is not an absolute path", v.Host.Path), "", "", at("host", "path")...)
		}
	}
}

// reserved reports whether a path belongs to what every container is given.
func reserved(p string) bool {
	for _, top := range []string{"/proc", "/sys", "/dev"} {
		if p == top || strings.HasPrefix(p, top+"/") && p != "/dev/shm" {
			return true
		}
	}
	return false
}

func (c *checker) hostAccess(t *Task) {
	if t.Run.Wasm != nil && len(t.HostDevices)+len(t.HostNamespaces) > 0 {
		c.add("a module reaches nothing of the node but its volumes and ports", "", "run a container or a process, or leave them out",
			map[bool]string{true: "host_devices", false: "host_namespaces"}[len(t.HostDevices) > 0])
	}
	switch t.Network {
	case "", sdk.NetworkHost, sdk.NetworkPrivate:
	default:
		c.add(fmt.Sprintf("unknown network %q", t.Network), "host, private", "", "network")
	}
	for i, n := range t.HostNamespaces {
		if n != "pid" && n != "ipc" && n != "users" {
			c.add(fmt.Sprintf("unknown namespace %q", n), "pid, ipc, users", "", "host_namespaces", strconv.Itoa(i))
		}
	}
	for i, d := range t.HostDevices {
		if !strings.HasPrefix(d.Path, "/dev/") {
			c.add(fmt.Sprintf("%q is no device", d.Path), "a path below /dev", "", "host_devices", strconv.Itoa(i), "path")
		}
		if strings.Trim(d.Access, "rwm") != "" {
			c.add(fmt.Sprintf("unknown access %q", d.Access), "r, w and m together", "", "host_devices", strconv.Itoa(i), "access")
		}
	}
}
