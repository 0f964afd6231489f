package keeper

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// mountpoints makes the places in a root file system where a task's mounts go,
// as far as the image lacks them. Errors: an image that has a link on the way
// there, by which it would choose what is mounted over.
func mountpoints(s *isolation.Spec, root string, src sources, by shift) error {
	for i, m := range s.Mounts {
		if m.Trusted || within(s, i) {
			continue // runc resolves these inside the root
		}
		st, err := os.Stat(src.mounts[i])
		if err != nil {
			return err
		}
		if at, err := mountpoint(root, m.Path, st.IsDir(), by); err != nil {
			f := sdk.Errorf(sdk.Invalid, "task/"+string(s.ID), "volume %q cannot be mounted at %s", m.Name, m.Path).At("volumes")
			switch {
			case errors.Is(err, unix.ELOOP):
				f = f.Because("%s is a symbolic link in the image", at).ToFix("give the volume a path without links in it")
			case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR):
				f = f.Because("%s is of another kind in the image", at).ToFix("give the volume another path")
			default:
				f = f.Because("%s: %v", at, err)
			}
			return &isolation.Error{Reason: sdk.ReasonVolume, Err: f}
		}
	}
	return nil
}

// within reports whether a mount's place is in another mount, or in one that
// every container has.
func within(s *isolation.Spec, i int) bool {
	path := s.Mounts[i].Path
	if strings.HasPrefix(path, "/dev/") {
		return true
	}
	for j, other := range s.Mounts {
		if j != i && strings.HasPrefix(path, strings.TrimSuffix(other.Path, "/")+"/") {
			return true
		}
	}
	return false
}

// mountpoint walks to path below root without following a link, and makes what
// is missing. It returns how far it came.
func mountpoint(root, path string, dir bool, by shift) (at string, err error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "/", err
	}
	defer func() { unix.Close(fd) }()
	at = "/"
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		at = filepath.Join(at, part)
		asDir := dir || i < len(parts)-1
		next, err := step(fd, part, asDir, int(by.ids.First))
		if err != nil {
			return at, err
		}
		unix.Close(fd)
		fd = next
	}
	return at, nil
}

// step opens one name in a folder, which it makes if it is not there.
func step(fd int, name string, dir bool, owner int) (next int, err error) {
	const flags = unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC
	next, err = unix.Openat(fd, name, flags, 0)
	if errors.Is(err, unix.ENOENT) {
		if dir {
			err = unix.Mkdirat(fd, name, 0o755)
		} else {
			err = unix.Mknodat(fd, name, unix.S_IFREG|0o644, 0)
		}
		if err == nil {
			err = unix.Fchownat(fd, name, owner, owner, unix.AT_SYMLINK_NOFOLLOW)
		}
		if err == nil {
			next, err = unix.Openat(fd, name, flags, 0)
		}
	}
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(next, &st); err == nil {
		switch kind := st.Mode & unix.S_IFMT; {
		case kind == unix.S_IFLNK:
			err = unix.ELOOP
		case dir && kind != unix.S_IFDIR:
			err = unix.ENOTDIR
		case !dir && kind == unix.S_IFDIR:
			err = unix.EISDIR
		}
	}
	if err != nil {
		unix.Close(next)
		return -1, err
	}
	return next, nil
}
