package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mountAttacks change what is mounted, or leave the container's namespaces.
var mountAttacks = []Attack{
	{Name: "mount-tmpfs", Tries: "mount something", Granted: Works, run: then(folder("/tmp/m"),
		func() error { return unix.Mount("x", "/tmp/m", "tmpfs", 0, "") }), refusals: denied},
	{Name: "mount-bind", Tries: "show a folder at another place", Granted: Works, run: then(folder("/tmp/b"),
		func() error { return unix.Mount("/etc", "/tmp/b", "", unix.MS_BIND, "") }), refusals: denied},
	{Name: "mount-shared", Tries: "let mounts go out of the container", Granted: Works, run: func() error {
		return unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, "")
	}, refusals: denied},
	{Name: "remount-root", Tries: "change the flags of the root file system", Granted: Either, run: func() error {
		return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "")
	}, refusals: denied},
	{Name: "umount", Tries: "take a mask of the container away", Granted: Works, run: func() error {
		return unix.Unmount("/proc/sys", unix.MNT_DETACH)
	}, refusals: denied},
	{Name: "open-tree", Tries: "mount by the newer system calls", Granted: Works, run: func() error {
		fd, err := unix.OpenTree(unix.AT_FDCWD, "/etc", unix.OPEN_TREE_CLONE)
		unix.Close(fd)
		return err
	}, refusals: denied},
	{Name: "fsopen", Tries: "make a file system by the newer system calls", Granted: Works, run: func() error {
		fd, err := unix.Fsopen("tmpfs", 0)
		unix.Close(fd)
		return err
	}, refusals: denied},
	{Name: "mount-disk", Tries: "mount a disk of the machine", run: then(folder("/tmp/d"), mountDisk), refusals: absent},
	{Name: "mount-overlay-up", Tries: "mount an overlay with attributes that only root outside may set", run: func() error {
		if err := os.WriteFile("/tmp/trusted", nil, 0o600); err != nil {
			return err
		}
		return unix.Setxattr("/tmp/trusted", "trusted.overlay.redirect", []byte("/"), 0)
	}, refusals: denied},
	{Name: "pivot-root", Tries: "change the root file system", Granted: Stopped, run: func() error {
		// "." twice needs no folder for the old one.
		if err := unix.Mount("/tmp", "/tmp", "", unix.MS_BIND, ""); err != nil {
			return unix.PivotRoot(".", ".")
		}
		if err := os.Chdir("/tmp"); err != nil {
			return err
		}
		return unix.PivotRoot(".", ".")
	}, refusals: denied},
	{Name: "chroot", Tries: "climb out by a second root", Granted: Works, run: func() error { return unix.Chroot("/tmp") }, refusals: denied},
	{Name: "chroot-climb", Tries: "leave the root by a second one and ..", run: chrootClimb, refusals: absent},
	{Name: "unshare-mounts", Tries: "take a mount namespace of its own", Granted: Works, run: func() error { return unshare(unix.CLONE_NEWNS) }, refusals: denied},
	{Name: "unshare-users", Tries: "take a user namespace, and all capabilities in it", Granted: Either, run: func() error { return clone(unix.CLONE_NEWUSER) }, refusals: denied},
	{Name: "clone-network", Tries: "take a network of its own, for its firewall's bugs", Granted: Works, run: func() error { return clone(unix.CLONE_NEWNET) }, refusals: denied},
	{Name: "clone3-users", Tries: "take a user namespace by the call whose flags no filter sees", Granted: Either, run: func() error {
		args := [11]uint64{unix.CLONE_NEWUSER, 0, 0, 0, uint64(unix.SIGCHLD)}
		pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
		if errno != 0 {
			return errno
		}
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return nil
	}, refusals: []error{syscall.ENOSYS, syscall.EPERM}},
	{Name: "setns", Tries: "enter a namespace", Granted: Either, run: func() error {
		f, err := os.Open("/proc/self/ns/net")
		if err != nil {
			return err
		}
		defer f.Close()
		return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
	}, refusals: denied},
	{Name: "open-by-handle", Tries: "open any file of the machine by its number (Shocker)", run: byHandle, refusals: append([]error{syscall.ESTALE, syscall.EOPNOTSUPP}, denied...)},
	{Name: "fanotify", Tries: "watch all files of the file system", Granted: Either, run: func() error {
		fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT, 0)
		unix.Close(fd)
		return err
	}, refusals: denied},
}

func unshare(flags int) error {
	runtime.LockOSThread()
	return unix.Unshare(flags)
}

// clone starts a process in namespaces of its own.
func clone(flags uintptr) error {
	cmd := exec.Command("/proc/self/exe", argSay, "nothing")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	return cmd.Run()
}

func mountDisk() error {
	b, err := os.ReadFile("/proc/partitions")
	if err != nil {
		return err
	}
	for _, path := range disks(string(b)) {
		if err = unix.Mount(path, "/tmp/d", "ext4", unix.MS_RDONLY, ""); err == nil {
			return nil
		}
	}
	if err == nil {
		err = errHidden
	}
	return err
}

// chrootClimb is the classic: a folder that is open outside a second root.
func chrootClimb() error {
	if err := os.MkdirAll("/tmp/c", 0o755); err != nil {
		return err
	}
	if err := unix.Chroot("/tmp/c"); err != nil {
		return err
	}
	for range 64 {
		unix.Chdir("..")
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if _, err := os.Stat("/hostile"); err == nil {
		return errHidden // back at the container's own root, no further
	}
	return nil
}

// byHandle opens the root of the file system that the container's files are on.
func byHandle() error {
	h, mount, err := unix.NameToHandleAt(unix.AT_FDCWD, "/etc/resolv.conf", 0)
	_ = mount
	if err != nil {
		// Overlays have no handles; inode 2 is the root of most disks.
		h = unix.NewFileHandle(1, []byte{2, 0, 0, 0, 0, 0, 0, 0})
	}
	at, err := os.Open("/etc/resolv.conf")
	if err != nil {
		if at, err = os.Open("/"); err != nil {
			return err
		}
	}
	defer at.Close()
	fd, err := unix.OpenByHandleAt(int(at.Fd()), h, unix.O_RDONLY)
	if err != nil {
		return err
	}
	unix.Close(fd)
	return nil
}
