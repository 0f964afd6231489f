package keeper

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/bundle"
)

// roots makes the root file systems of containers: an overlay of the image's
// layers and an upper folder of the container's own.
//
// With user namespaces the layers are mounted with their ids moved into the
// container's range, so that files on disk stay root's and shared between all
// containers, while each container owns what it sees. The mounts live only
// while a container is created: after that, the container's own mount
// namespace holds them, and there is nothing to leak.
type roots struct {
	dir string // where mounts are made; every user may pass through it
	ids bundle.IDRange
	ns  *os.File // a user namespace with that range
}

// The folders of a container's own files, made anew for it and gone with it,
// and the places beside its root of the mount of /sys and of its disk.
const (
	upperFolder = "upper"
	workFolder  = "work"
	sysMount    = "sys"
	diskMount   = "disk"
)

// shift is how a task's ids are moved into its range: not at all when its user
// namespace is the host's.
type shift struct {
	ids bundle.IDRange
	ns  *os.File
}

// shift is that of a task.
func (r *roots) shift(s *isolation.Spec) shift {
	if s.HostUsers {
		return shift{}
	}
	return shift{r.ids, r.ns}
}

// mount mounts the root file system of program p, whose folder is dir. The name
// is one that no other container has. The caller unmounts it.
func (r *roots) mount(name, dir string, p *isolation.Program, by shift) (root string, err error) {
	place := filepath.Join(r.dir, name)
	root = filepath.Join(place, "root")
	if err := os.MkdirAll(root, 0o711); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			r.unmount(name)
		}
	}()
	upper, err := by.folder(filepath.Join(dir, upperFolder))
	if err != nil {
		return "", err
	}
	defer upper.Close()
	work, err := by.folder(filepath.Join(dir, workFolder))
	if err != nil {
		return "", err
	}
	defer work.Close()
	if by.ns != nil {
		// The kernel lets a container bind a mount only together with what is
		// mounted in it, and the host's cgroups are none of its business.
		if err := clone("/sys", filepath.Join(place, sysMount), nil); err != nil {
			return "", err
		}
	}
	layers := p.Layers
	lower := make([]string, 0, len(layers)+1)
	if p.HostRoot {
		// Without what is mounted in it, and with its own ids: what belongs to
		// the host's root is nobody's to the task.
		at := filepath.Join(place, "host")
		if err := clone("/", at, nil); err != nil {
			return "", err
		}
		lower, layers = append(lower, at), nil
	}
	for i := len(layers) - 1; i >= 0; i-- {
		at := filepath.Join(place, strconv.Itoa(i))
		if err := clone(layers[i], at, by.ns); err != nil {
			return "", fmt.Errorf("layer %s: %w", layers[i], err)
		}
		lower = append(lower, at)
	}
	if len(lower) == 0 {
		at := filepath.Join(place, "empty")
		if err := os.Mkdir(at, 0o755); err != nil {
			return "", err
		}
		lower = append(lower, at)
	}
	// Named by their handles: a path could hold what means something to the
	// kernel's option parser. Volatile: what goes with the container need not
	// be written out first.
	options := fmt.Sprintf("volatile,lowerdir=%s,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d",
		strings.Join(lower, ":"), upper.Fd(), work.Fd())
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return "", fmt.Errorf("overlay of %d layers: %w", len(layers), err)
	}
	return root, nil
}

// clone mounts the folder from at another place, read-only, without what is
// mounted in it, and with its ids moved by the user namespace if there is one.
func clone(from, at string, ns *os.File) error {
	if err := os.Mkdir(at, 0o711); err != nil {
		return err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if ns != nil {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(ns.Fd())
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	return nil
}

// folder makes a folder that belongs to the container's root user.
func (s shift) folder(path string) (*os.File, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chown(path, int(s.ids.First), int(s.ids.First)); err != nil {
		return nil, err
	}
	return os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
}

// unmount takes down whatever there is of the name. What is in use elsewhere
// stays there.
func (r *roots) unmount(name string) {
	place := filepath.Join(r.dir, name)
	list, _ := os.ReadDir(place)
	for _, e := range list {
		at := filepath.Join(place, e.Name())
		for unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) == nil {
		}
		os.Remove(at)
	}
	unix.Rmdir(place)
}

// sweep takes down what another keeper left.
func (r *roots) sweep() {
	list, _ := os.ReadDir(r.dir)
	for _, e := range list {
		r.unmount(e.Name())
	}
}

// holdArg is the argument that makes this program only hold a namespace.
const holdArg = "hold"

// hold waits until it is not needed any more.
func hold() int {
	var b [1]byte
	os.Stdin.Read(b[:])
	return 0
}

// userNamespace returns a handle on a user namespace with the range, which is
// what the kernel wants for moving a mount's ids.
func userNamespace(ids bundle.IDRange) (*os.File, error) {
	m := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(ids.First), Size: int(ids.Size)}}
	cmd := &exec.Cmd{
		Path:        "/proc/self/exe",
		Args:        []string{"drupe-keeper", holdArg},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: m, GidMappings: m},
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	in.Close()
	cmd.Wait()
	return ns, err
}
