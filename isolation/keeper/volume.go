package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// volumesFolder holds a folder for each volume on disk, within the task's.
const volumesFolder = "volumes"

// sources are the mounts of a task as they are made ready for its containers.
// Like root file systems they stay on the host only until the containers have
// them.
type sources struct {
	mounts []string // in the order of the specification
	shm    string   // for /dev/shm of a task of several containers
	proc   string   // the host's /proc, for a task among the host's processes
}

// ready makes the sources of a task's mounts under the name, those on disk in
// room. The caller unmounts it.
func (k *keeper) ready(t *task, name, room string) (src sources, err error) {
	s := t.rec.Spec
	place := filepath.Join(k.roots.dir, name)
	if err := os.MkdirAll(place, 0o711); err != nil {
		return src, err
	}
	by := k.roots.shift(s)
	for i, m := range s.Mounts {
		at := filepath.Join(place, "v"+strconv.Itoa(i))
		switch {
		case m.Ephemeral != nil && m.Ephemeral.Memory:
			err = inMemory(at, memorySize(m.Ephemeral, &s.Limits), by)
		case m.Ephemeral != nil && m.Ephemeral.Size > 0:
			err = k.onDiskOf(t.dir, at, m.Ephemeral.Size, by)
		case m.Ephemeral != nil:
			err = onDisk(filepath.Join(room, volumesFolder), m.Name, at, m.ReadOnly, by)
		default:
			err = ofHost(&m, at, by)
		}
		if err != nil {
			return src, volumeFault(t.id, &m, err)
		}
		src.mounts = append(src.mounts, at)
	}
	if len(s.Sidecars) > 0 && !s.HostIPC {
		src.shm = filepath.Join(place, "shm")
		if err := inMemory(src.shm, 64<<20, by); err != nil {
			return src, err
		}
	}
	if s.HostPID {
		src.proc = filepath.Join(place, "proc")
		if err := clone("/proc", src.proc, nil); err != nil {
			return src, err
		}
	}
	return src, nil
}

func volumeFault(id sdk.TaskID, m *isolation.Mount, err error) error {
	f := sdk.Errorf(sdk.Unavailable, "task/"+string(id), "volume %q cannot be mounted at %s", m.Name, m.Path).At("volumes")
	if m.Host == "" {
		return &isolation.Error{Reason: sdk.ReasonVolume, Err: f.Because("%v", err)}
	}
	switch {
	case errors.Is(err, unix.ELOOP):
		f = f.Because("there is a symbolic link in %s of the node", m.Host).ToFix("name the folder by its true path")
	case errors.Is(err, unix.ENOENT):
		f = f.Because("there is no %s on the node", m.Host).ToFix("make it on the node, or run the task where it is")
	default:
		f = f.Because("%s: %v", m.Host, err)
	}
	return &isolation.Error{Reason: sdk.ReasonVolume, Err: f}
}

// memorySize is how much a volume in memory holds at most.
func memorySize(e *sdk.EphemeralVolume, l *isolation.Limits) int64 {
	if e.Size > 0 {
		return e.Size
	}
	return l.Memory
}

// inMemory mounts an empty folder whose content is memory of whoever writes it.
// Size 0 bounds it by half of the machine's.
func inMemory(at string, size int64, by shift) error {
	if err := os.Mkdir(at, 0o711); err != nil {
		return err
	}
	options := fmt.Sprintf("mode=1777,uid=%d,gid=%d", by.ids.First, by.ids.First)
	if size > 0 {
		options += fmt.Sprintf(",size=%d", size)
	}
	return unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options)
}

// onDiskOf mounts an empty folder of its own size. Its file is in dir.
func (k *keeper) onDiskOf(dir, at string, size int64, by shift) error {
	if k.diskBy != diskByLoop {
		return errors.New("this node cannot give a volume on disk a size of its own: leave the size out, or keep it in memory")
	}
	if err := mountLoop(k.mkfs, dir, at, size); err != nil {
		return err
	}
	if err := os.Chmod(at, 0o777); err != nil {
		return err
	}
	if err := os.Chown(at, int(by.ids.First), int(by.ids.First)); err != nil {
		return err
	}
	return fit(at, size)
}

// onDisk mounts an empty folder below parent that every user of the task may
// write to.
func onDisk(parent, name, at string, readOnly bool, by shift) error {
	if name == "" || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." {
		return fmt.Errorf("%q cannot name it", name)
	}
	folder := filepath.Join(parent, name)
	if err := os.MkdirAll(folder, 0o711); err != nil {
		return err
	}
	if err := os.Chmod(folder, 0o777); err != nil {
		return err
	}
	if err := os.Chown(folder, int(by.ids.First), int(by.ids.First)); err != nil {
		return err
	}
	from, err := os.OpenFile(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer from.Close()
	return bindAt(from, at, readOnly, nil)
}

// ofHost mounts a folder or file of the node, without what is mounted below it.
// Whoever asked for it was allowed this very path: a link in it would lead
// elsewhere, and is refused.
func ofHost(m *isolation.Mount, at string, by shift) error {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if m.Trusted {
		how.Resolve = 0
	}
	if !filepath.IsAbs(m.Host) || filepath.Clean(m.Host) != m.Host {
		return fmt.Errorf("%q is not a whole path", m.Host)
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, m.Host, &how)
	if err != nil {
		return err
	}
	from := os.NewFile(uintptr(fd), m.Host)
	defer from.Close()
	if m.Trusted && !m.ReadOnly {
		return bindAt(from, at, false, nil)
	}
	return bindAt(from, at, m.ReadOnly, by.ns)
}

// bindAt mounts a folder or file at another place, with its ids moved if there
// is a user namespace and its file system can.
func bindAt(from *os.File, at string, readOnly bool, ns *os.File) error {
	st, err := from.Stat()
	if err != nil {
		return err
	}
	if st.IsDir() {
		err = os.Mkdir(at, 0o711)
	} else {
		err = os.WriteFile(at, nil, 0o600)
	}
	if err != nil {
		return err
	}
	fd, err := unix.OpenTree(int(from.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	if ns != nil {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}
		err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return os.NewSyscallError("mount_setattr", err)
		}
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	return nil
}
