package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A task's own files are bounded exactly by a file system of their own: ext4 in
// a file without holes filled, on a loop device. Nothing of it can be left
// behind. The file has no name, the device lets go of it when the file system
// is not mounted any more, and after a start only the container's own mounts
// and the keeper's handle hold the file system.

// reserve is how much larger the file is than what the task may write: inodes,
// bitmaps and what ext4 keeps for itself. What of it is too much is taken up by
// a file of the keeper's own.
func reserve(limit int64) int64 { return limit/8 + 32<<20 }

// fillerFile takes up what the file system has beyond the limit.
const fillerFile = "filler"

// mkfsPath returns the program that makes ext4.
func mkfsPath() (string, error) {
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"} {
		name := filepath.Join(dir, "mkfs.ext4")
		if st, err := os.Stat(name); err == nil && st.Mode()&0o111 != 0 {
			return name, nil
		}
	}
	return "", errors.New("mkfs.ext4 is not installed (package e2fsprogs)")
}

// mountLoop mounts at a place a new file system with room for limit bytes,
// whose file is in dir.
func mountLoop(mkfs, dir, at string, limit int64) error {
	f, err := os.CreateTemp(dir, "disk-")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if err := f.Truncate(limit + reserve(limit)); err != nil {
		return fmt.Errorf("file of %d bytes: %w", limit+reserve(limit), err)
	}
	// No journal: the files go with the container, and so with the machine.
	cmd := exec.Command(mkfs, "-q", "-F", "-b", "4096", "-i", "4096", "-m", "0",
		"-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=1,nodiscard", "/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{f}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, strings.TrimSpace(string(out)))
	}
	dev, err := attach(f)
	if err != nil {
		return err
	}
	defer dev.Close()
	if err := os.MkdirAll(at, 0o711); err != nil {
		return err
	}
	if err := unix.Mount(dev.Name(), at, "ext4", 0, "noinit_itable,discard"); err != nil {
		return fmt.Errorf("mount %s: %w", dev.Name(), err)
	}
	return nil
}

// attach puts the file behind a free loop device, which lets go of it when it
// is closed by everybody.
func attach(f *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	for end := time.Now().Add(10 * time.Second); ; {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("no free loop device: %w", err)
		}
		dev, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		c := unix.LoopConfig{Fd: uint32(f.Fd()), Size: 4096,
			Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO}}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &c)
		if err == nil {
			return dev, nil
		}
		dev.Close()
		// Somebody else took it first.
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return nil, fmt.Errorf("loop device %d: %w", n, err)
		}
	}
}

// fit takes up what is free beyond the limit.
func fit(at string, limit int64) error {
	f, err := os.OpenFile(filepath.Join(at, fillerFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	limit = (limit + 4095) / 4096 * 4096
	var size int64
	// A long file takes blocks for its own map too; the second turn gives those
	// back.
	for range 3 {
		free, err := available(int(f.Fd()))
		if err != nil {
			return err
		}
		over := free - limit
		switch {
		case over == 0:
			return nil
		case over < 0 && size+over < 0:
			return fmt.Errorf("the file system has room for %d bytes only: %w", free, fs.ErrInvalid)
		case over < 0:
			size += over
			err = f.Truncate(size)
		default:
			err = unix.Fallocate(int(f.Fd()), 0, size, over)
			size += over
		}
		if err != nil {
			return fmt.Errorf("fill up: %w", err)
		}
	}
	return nil
}

// available returns what can still be written to a file system.
func available(fd int) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
