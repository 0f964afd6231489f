package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// procAttacks go through /proc.
var procAttacks = []Attack{
	{Name: "sysrq", Tries: "reboot the machine by its emergency keys", run: opens("/proc/sysrq-trigger"), refusals: readOnly},
	{Name: "core-pattern", Tries: "have the kernel run a program as root for every crash", run: opens("/proc/sys/kernel/core_pattern"), refusals: readOnly},
	{Name: "modprobe-path", Tries: "have the kernel run a program as root for an unknown format", run: opens("/proc/sys/kernel/modprobe"), refusals: readOnly},
	{Name: "panic-sysctl", Tries: "make the machine stop at the next fault", run: opens("/proc/sys/kernel/panic_on_oops"), refusals: readOnly},
	{Name: "vm-sysctl", Tries: "change how the machine shares its memory", run: opens("/proc/sys/vm/overcommit_memory"), refusals: readOnly},
	{Name: "net-sysctl", Tries: "make the machine a router", run: opens("/proc/sys/net/ipv4/ip_forward"), refusals: readOnly},
	{Name: "binfmt", Tries: "become the interpreter of the machine's programs", run: opens("/proc/sys/fs/binfmt_misc/register"), refusals: readOnly},
	{Name: "irq-affinity", Tries: "move the machine's interrupts", run: opens("/proc/irq/default_smp_affinity"), refusals: readOnly},
	{Name: "proc-sys-remount", Tries: "make /proc/sys writable again", run: then(
		func() error { return unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		opens("/proc/sys/kernel/core_pattern")), refusals: denied},
	{Name: "proc-anew", Tries: "mount a /proc with nothing hidden in it, and write", run: then(
		folder("/tmp/proc"), func() error { return unix.Mount("proc", "/tmp/proc", "proc", 0, "") },
		opens("/tmp/proc/sys/kernel/core_pattern")), refusals: denied},
	{Name: "kcore", Tries: "read the kernel's memory", run: reads("/proc/kcore"), refusals: absent},
	{Name: "kcore-unmask", Tries: "take the mask off the kernel's memory and read it", run: then(
		func() error { return unix.Unmount("/proc/kcore", unix.MNT_DETACH) }, reads("/proc/kcore")), refusals: absent},
	{Name: "proc-keys", Tries: "list the keys of the machine", run: reads("/proc/keys"), refusals: absent},
	{Name: "timer-list", Tries: "see the machine's timers, and kernel addresses with them", run: reads("/proc/timer_list"), refusals: absent},
	{Name: "interrupts", Tries: "watch the machine's interrupts, as for spying on keys", run: reads("/proc/interrupts"), refusals: absent},
	{Name: "latency-stats", Tries: "see what waits on the machine", run: reads("/proc/latency_stats"), refusals: absent},
	{Name: "sched-debug", Tries: "see every process of the machine", run: reads("/proc/sched_debug"), refusals: absent},
	{Name: "proc-scsi", Tries: "remove a disk from the machine", run: reads("/proc/scsi"), refusals: absent},
	{Name: "proc-acpi", Tries: "reach the firmware", run: reads("/proc/acpi"), refusals: absent},
	{Name: "root-of-one", Tries: "find the machine's files below the first process", run: rootOfOne, refusals: absent},
	{Name: "other-processes", Tries: "see processes outside", run: otherProcesses, refusals: absent},
	{Name: "oom-score", Tries: "have others killed when memory is short", run: writes("/proc/self/oom_score_adj", "-1000"), refusals: denied},
	{Name: "uid-map", Tries: "become root outside by mapping ids anew", run: writes("/proc/self/uid_map", "0 0 1"), refusals: denied},
	{Name: "ns-of-one", Tries: "enter the mount namespace of the first process", Granted: Either, run: func() error {
		f, err := os.Open("/proc/1/ns/mnt")
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Setns(int(f.Fd()), unix.CLONE_NEWNS)
	}, refusals: append([]error{syscall.EINVAL}, denied...)},
	{Name: "open-descriptors", Tries: "use a descriptor that was left open", run: descriptors, refusals: absent},
}

// sysAttacks go through /sys.
var sysAttacks = []Attack{
	{Name: "uevent-helper", Tries: "have the kernel run a program as root for every device", run: opens("/sys/kernel/uevent_helper"), refusals: readOnly},
	{Name: "power-state", Tries: "send the machine to sleep", run: opens("/sys/power/state"), refusals: readOnly},
	{Name: "sys-remount", Tries: "make /sys writable again", run: then(
		func() error { return unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, "") },
		func() error {
			return writable("/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/uevent_helper")
		}), refusals: denied},
	{Name: "firmware", Tries: "read tables of the firmware", run: reads("/sys/firmware"), refusals: absent},
	{Name: "powercap", Tries: "measure power to spy on others' computing", run: reads("/sys/devices/virtual/powercap"), refusals: absent},
	{Name: "debugfs", Tries: "use the kernel's debugging", run: reads("/sys/kernel/debug"), refusals: absent},
	{Name: "tracefs", Tries: "trace the machine", run: reads("/sys/kernel/tracing"), refusals: absent},
	{Name: "securityfs", Tries: "see or change the security modules", run: reads("/sys/kernel/security"), refusals: absent},
	{Name: "debugfs-mount", Tries: "mount the kernel's debugging", run: then(folder("/tmp/debug"),
		func() error { return unix.Mount("debugfs", "/tmp/debug", "debugfs", 0, "") }), refusals: denied},
	{Name: "efivars", Tries: "make the machine unable to start", run: reads("/sys/firmware/efi/efivars"), refusals: absent},
}

// cgroupAttacks are on the container's own limits.
var cgroupAttacks = []Attack{
	{Name: "cgroup-raise", Tries: "raise its own memory limit", run: func() error { return writable(limitFiles()...) }, refusals: readOnly},
	{Name: "cgroup-remount", Tries: "make its cgroup writable and raise its limit", run: then(
		remountCgroups, func() error { return writable(limitFiles()...) }), refusals: readOnly},
	{Name: "cgroup-leave", Tries: "move to another cgroup", run: func() error { return writable(procsFiles()...) }, refusals: readOnly},
	{Name: "cgroup-child", Tries: "make cgroups of its own", run: func() error {
		return os.Mkdir(filepath.Join(filepath.Dir(procsFiles()[0]), "hostile"), 0o755)
	}, refusals: readOnly},
	{Name: "cgroup-above", Tries: "see the cgroups of others", run: cgroupAbove, refusals: absent},
	{Name: "cgroup-mount", Tries: "mount the cgroups itself and raise its limit", run: then(folder("/tmp/cgroup"),
		mountCgroup, func() error {
			return writable("/tmp/cgroup/memory.limit_in_bytes", "/tmp/cgroup/memory.max", "/tmp/cgroup/cgroup.procs")
		}), refusals: append([]error{syscall.EBUSY, syscall.EINVAL}, readOnly...)},
	{Name: "release-agent", Tries: "have the kernel run a program as root when a cgroup empties", run: then(folder("/tmp/agent"),
		func() error { return unix.Mount("cgroup", "/tmp/agent", "cgroup", 0, "memory") },
		func() error { return writable("/tmp/agent/release_agent") }), refusals: append([]error{syscall.EBUSY, syscall.EINVAL}, readOnly...)},
	{Name: "device-rules", Tries: "allow itself every device", run: func() error {
		return writable("/sys/fs/cgroup/devices/devices.allow", "/sys/fs/cgroup/devices.allow")
	}, refusals: readOnly},
}

func folder(path string) func() error {
	return func() error {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return errors.New("no folder to mount at: " + err.Error())
		}
		return nil
	}
}

func writes(path, text string) func() error {
	return func() error { return os.WriteFile(path, []byte(text), 0) }
}

// writable returns nil when one of the files can be opened to write to it,
// else the last refusal.
func writable(paths ...string) (err error) {
	for _, p := range paths {
		e := opens(p)()
		if e == nil {
			return nil
		}
		if err == nil || !errors.Is(e, syscall.ENOENT) {
			err = e
		}
	}
	return err
}

func limitFiles() []string {
	return []string{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory.max"}
}

func procsFiles() []string {
	list, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	return append(list, "/sys/fs/cgroup/cgroup.procs")
}

func remountCgroups() error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if f[2] != "cgroup" && f[2] != "cgroup2" {
			continue
		}
		if err := unix.Mount("", f[1], "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

func mountCgroup() error {
	err := unix.Mount("cgroup", "/tmp/cgroup", "cgroup2", 0, "")
	if err != nil {
		err = unix.Mount("cgroup", "/tmp/cgroup", "cgroup", 0, "memory")
	}
	return err
}

// cgroupAbove looks for cgroups that are not the container's own.
func cgroupAbove() error {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && f[2] != "/" {
			return nil
		}
	}
	found := errHidden
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		depth := strings.Count(strings.TrimPrefix(path, "/sys/fs/cgroup"), "/")
		if err == nil && d.IsDir() && depth > 1 {
			found = nil
		}
		return nil
	})
	return found
}

// rootOfOne looks for files that are the machine's.
func rootOfOne() error {
	for _, p := range []string{"/proc/1/root", "/proc/self/root/proc/1/cwd", "/proc/1/root/.."} {
		if _, err := os.Stat(p + "/hostile"); err != nil {
			return nil // our own program is not there: it is another root
		}
	}
	return errHidden
}

// otherProcesses counts what is there beside the first process, this one and
// the one that runs it.
func otherProcesses() error {
	list, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	if len(list) > 3 {
		return nil
	}
	return errHidden
}

// descriptors looks for open files that nobody here has opened.
func descriptors() error {
	for _, pid := range []string{"self", "1"} {
		list, err := os.ReadDir("/proc/" + pid + "/fd")
		if err != nil {
			return err
		}
		for _, e := range list {
			to, err := os.Readlink("/proc/" + pid + "/fd/" + e.Name())
			switch {
			case err != nil, // the one that listed
				strings.HasPrefix(to, "pipe:"), to == "/dev/null",
				strings.HasPrefix(to, "anon_inode:[event"), strings.HasPrefix(to, "anon_inode:[pidfd"),
				strings.HasPrefix(to, "/proc/"), to == "/sys/fs/cgroup/cpu.max", strings.HasPrefix(to, "/sys/fs/cgroup/"):
				// What Go itself opens, and the folder that is listed here.
			default:
				fmt.Fprintln(os.Stderr, to)
				return nil
			}
		}
	}
	return errHidden
}
