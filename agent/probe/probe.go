// Package probe finds out what a machine has for tasks: cores it may use,
// memory, disk, ports, and facts that placement may ask for.
//
// What a control group or the scheduler denies the agent it does not offer, so
// an agent inside a container reports the container's share.
package probe

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
)

// Options say what to look at and how much of it to offer.
type Options struct {
	// Dir is the data folder; the space of its file system is offered.
	Dir string
	// Address is where tasks' ports are reached; "" is found from the routes.
	Address string
	// Version of the agent.
	Version string
	// Ports is the pool of host ports; the zero value is 20000–29999.
	Ports sdk.Range
	// Share and Of offer part Share (from 0) of Of equal parts of the machine,
	// ports included. Of below 2 offers all.
	Share, Of int
	// ReserveCPUs (thousandths) and ReserveMem (bytes) are kept back for the
	// system, before sharing. Negative: nothing; 0: 2 % of the cores, and 5 % of
	// memory but at least 128 MiB and at most 4 GiB. ReserveDisk is the same for
	// the file system of Dir: 0 is 5 % of it, at least 256 MiB and at most
	// 20 GiB.
	ReserveCPUs, ReserveMem, ReserveDisk int64
}

// DefaultPorts is the pool of host ports when none is given. It lies below the
// kernel's own range for outgoing connections.
var DefaultPorts = sdk.Range{First: 20000, Last: 29999}

// roots are the folders probed; tests replace them.
type roots struct {
	proc, cgroup, sys, arch string
	calls                   calls
}

// Machine looks at this machine. Errors: Unsupported when it cannot be read,
// Invalid for options that leave nothing.
func Machine(o Options) (sdk.Machine, error) {
	return machine(o, roots{"/proc", "/sys/fs/cgroup", "/sys", runtime.GOARCH, live})
}

func machine(o Options, r roots) (sdk.Machine, error) {
	cpus, err := r.cpus()
	if err != nil {
		return sdk.Machine{}, unreadable("cores", err)
	}
	mem, err := r.memory()
	if err != nil {
		return sdk.Machine{}, unreadable("memory", err)
	}
	disk, err := diskOf(o.Dir)
	if err != nil {
		return sdk.Machine{}, unreadable("the disk of "+o.Dir, err)
	}
	cpus = max(cpus-reserve(o.ReserveCPUs, cpus/50), 0)
	mem = max(mem-reserve(o.ReserveMem, min(max(mem/20, 128<<20), 4<<30)), 0)
	disk = max(disk-reserve(o.ReserveDisk, min(max(disk/20, 256<<20), 20<<30)), 0)
	ports := o.Ports
	if ports == (sdk.Range{}) {
		ports = DefaultPorts
	}
	if ports.First > ports.Last || ports.First == 0 {
		return sdk.Machine{}, sdk.Errorf(sdk.Invalid, "node", "%d–%d is no range of ports", ports.First, ports.Last)
	}
	if o.Of > 1 {
		if o.Share < 0 || o.Share >= o.Of {
			return sdk.Machine{}, sdk.Errorf(sdk.Invalid, "node", "there is no share %d of %d", o.Share, o.Of)
		}
		n := int64(o.Of)
		cpus, mem, disk = cpus/n, mem/n, disk/n
		each := (int(ports.Last) - int(ports.First) + 1) / o.Of
		if each == 0 {
			return sdk.Machine{}, sdk.Errorf(sdk.Invalid, "node", "%d ports are too few for %d agents", int(ports.Last)-int(ports.First)+1, o.Of)
		}
		first := int(ports.First) + o.Share*each
		ports = sdk.Range{First: uint16(first), Last: uint16(first + each - 1)}
	}
	m := sdk.Machine{
		Capacity: sdk.Resources{{Name: sdk.CPUs, Value: cpus}, {Name: sdk.Disk, Value: disk}, {Name: sdk.Mem, Value: mem}},
		Ports:    []sdk.Range{ports},
		Address:  o.Address,
		Version:  o.Version,
	}
	if m.Hostname, err = os.Hostname(); err != nil {
		return sdk.Machine{}, unreadable("the host name", err)
	}
	if m.Address == "" {
		m.Address = ownAddress()
	}
	m.Attributes = r.attributes(o.Dir)
	return m, nil
}

func unreadable(what string, err error) error {
	return sdk.Errorf(sdk.Unsupported, "node", "cannot find out about %s: %w", what, err)
}

func reserve(asked, usual int64) int64 {
	if asked == 0 {
		return usual
	}
	return max(asked, 0)
}

// cpus returns thousandths of a core: as many as the scheduler lets this
// process run on, and no more than its control group's quota.
func (r roots) cpus() (int64, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, err
	}
	n := int64(set.Count()) * 1000
	for _, dir := range r.groups("cpu") {
		if quota, period, ok := cpuQuota(dir); ok && quota > 0 && period > 0 {
			n = min(n, quota*1000/period)
		}
	}
	return n, nil
}

// cpuQuota reads a group's quota in the form of either version.
func cpuQuota(dir string) (quota, period int64, ok bool) {
	if b, err := os.ReadFile(filepath.Join(dir, "cpu.max")); err == nil {
		f := strings.Fields(string(b))
		if len(f) != 2 || f[0] == "max" {
			return 0, 0, false
		}
		quota, err1 := strconv.ParseInt(f[0], 10, 64)
		period, err2 := strconv.ParseInt(f[1], 10, 64)
		return quota, period, err1 == nil && err2 == nil
	}
	quota, ok1 := readInt(filepath.Join(dir, "cpu.cfs_quota_us"))
	period, ok2 := readInt(filepath.Join(dir, "cpu.cfs_period_us"))
	return quota, period, ok1 && ok2
}

// memory returns bytes: the machine's, and no more than a control group lets
// this process have.
func (r roots) memory() (int64, error) {
	b, err := os.ReadFile(filepath.Join(r.proc, "meminfo"))
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("MemTotal:")); ok {
			f := bytes.Fields(rest)
			if len(f) > 0 {
				kib, err := strconv.ParseInt(string(f[0]), 10, 64)
				if err != nil {
					return 0, err
				}
				total = kib << 10
			}
		}
	}
	if total == 0 {
		return 0, fmt.Errorf("meminfo has no MemTotal")
	}
	for _, dir := range r.groups("memory") {
		for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
			if limit, ok := readInt(filepath.Join(dir, file)); ok && limit > 0 {
				total = min(total, limit)
			}
		}
	}
	return total, nil
}

// groups returns the folders of this process's control group and all above it
// that have the controller, in either version.
func (r roots) groups(controller string) []string {
	b, err := os.ReadFile(filepath.Join(r.proc, "self/cgroup"))
	if err != nil {
		return nil
	}
	var dirs []string
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mounts := []string{r.cgroup, filepath.Join(r.cgroup, "unified")}
		if parts[0] != "0" {
			if !slices.Contains(strings.Split(parts[1], ","), controller) {
				continue
			}
			mounts = []string{filepath.Join(r.cgroup, parts[1]), filepath.Join(r.cgroup, controller)}
		}
		for _, mount := range mounts {
			for p := parts[2]; ; p = filepath.Dir(p) {
				dirs = append(dirs, filepath.Join(mount, p))
				if p == "/" || p == "." {
					break
				}
			}
		}
	}
	return dirs
}

func readInt(path string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	v, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return v, err == nil
}

// ownAddress is the address this machine would use to reach another network;
// nothing is sent to find it.
func ownAddress() string {
	for _, to := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		if c, err := net.Dial("udp", to); err == nil {
			defer c.Close()
			return c.LocalAddr().(*net.UDPAddr).IP.String()
		}
	}
	return "127.0.0.1"
}

// attributes are facts about the machine, sorted by name. README.md of package
// agent lists them.
func (r roots) attributes(dir string) []sdk.Attribute {
	out := slices.Concat([]sdk.Attribute{{Name: "arch", Value: r.arch}, {Name: "os", Value: runtime.GOOS}},
		r.features(), r.topology(), r.disks(dir))
	slices.SortFunc(out, func(a, b sdk.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// BootID names the time since the machine last started; a new one means that
// all processes of before are gone. "" when the kernel does not say.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
