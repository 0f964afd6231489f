package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// deviceAttacks are on the machine's devices.
var deviceAttacks = []Attack{
	{Name: "mknod-mem", Tries: "make a node of the machine's memory", run: makesNode("/tmp/mem", unix.S_IFCHR, 1, 1), refusals: denied},
	{Name: "mknod-kmsg", Tries: "make a node of the kernel's log", run: makesNode("/tmp/kmsg", unix.S_IFCHR, 1, 11), refusals: denied},
	{Name: "mknod-disk", Tries: "make a node of a disk", run: makesNode("/tmp/disk", unix.S_IFBLK, 8, 0), refusals: denied},
	{Name: "mknod-tun", Tries: "make a node for tunnels", run: makesNode("/tmp/tun", unix.S_IFCHR, 10, 200), refusals: denied},
	{Name: "mknod-kvm", Tries: "make a node for virtual machines", run: makesNode("/tmp/kvm", unix.S_IFCHR, 10, 232), refusals: denied},
	{Name: "mknod-whiteout", Tries: "hide files of the layers below with a whiteout of another kind", Granted: Either, run: makesNode("/dev/shm/w", unix.S_IFBLK, 0, 0), refusals: denied},
	{Name: "dev-mem", Tries: "read the machine's memory", run: reads("/dev/mem"), refusals: absent},
	{Name: "dev-kmsg", Tries: "read the kernel's log", run: reads("/dev/kmsg"), refusals: absent},
	{Name: "dev-fuse", Tries: "serve a file system", run: reads("/dev/fuse"), refusals: absent},
	{Name: "dev-kvm", Tries: "start virtual machines", run: opens("/dev/kvm"), refusals: absent},
	{Name: "dev-tun", Tries: "make a tunnel", run: opens("/dev/net/tun"), refusals: absent},
	{Name: "dev-disk", Tries: "read a disk", run: readDisk, refusals: absent},
	{Name: "dev-others", Tries: "use a device that is not harmless", run: otherDevices, refusals: absent},
	{Name: "dev-null", Tries: "find something behind the device that swallows all", run: func() error {
		var st unix.Stat_t
		if err := unix.Stat("/dev/null", &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
			return nil
		}
		return errHidden
	}, refusals: absent},
	{Name: "console", Tries: "write to the machine's console", run: opens("/dev/console"), refusals: absent},
	{Name: "tiocsti", Tries: "type into the terminal of whoever started it", run: func() error {
		f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.TIOCSTI, 'x')
	}, refusals: absent},
	{Name: "iopl", Tries: "speak to devices directly", run: calls(unix.SYS_IOPL, 3), refusals: unbuilt},
	{Name: "ioperm", Tries: "speak to one port directly", run: calls(unix.SYS_IOPERM, 0x80, 1, 1), refusals: unbuilt},
}

func makesNode(path string, kind uint32, major, minor uint32) func() error {
	return func() error {
		err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor)))
		if err != nil {
			return err
		}
		defer os.Remove(path)
		// A node that cannot be opened is a name and nothing else.
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
		unix.Close(fd)
		return err
	}
}

func readDisk() error {
	b, err := os.ReadFile("/proc/partitions")
	if err != nil {
		return err
	}
	err = errHidden
	for _, path := range disks(string(b)) {
		if err = reads(path)(); err == nil {
			return nil
		}
	}
	return err
}

// disks returns where the disks of /proc/partitions would be.
func disks(partitions string) (paths []string) {
	for line := range strings.Lines(partitions) {
		if f := strings.Fields(line); len(f) == 4 && f[0] != "major" {
			paths = append(paths, "/dev/"+f[3])
		}
	}
	return paths
}

// otherDevices looks for device nodes beyond the harmless ones.
func otherDevices() error {
	harmless := []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts/ptmx"}
	found := errHidden
	filepath.WalkDir("/dev", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeDevice != 0 && !slices.Contains(harmless, path) {
			found = nil
		}
		return nil
	})
	return found
}
