package wasm

import (
	"encoding/binary"
	"path"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// beneath opens a path that may not leave the folder it starts in.
func beneath(dir int, name string, flags int, mode uint64) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: mode,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
		// EAGAIN: something was renamed while ".." was followed.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

// procPath names an open file where a call takes none.
func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// parent opens the folder that the path's last name is in, for f to do
// something with that name.
func (g *guest) parent(m memory, dir, at, n uint64, f func(dir int, name string) error) syscall.Errno {
	fd, errno := g.fd(dir)
	if errno != 0 {
		return errno
	}
	p, errno := m.text(at, n)
	if errno != 0 {
		return errno
	}
	folder, name := path.Split(strings.TrimRight(p, "/"))
	switch {
	case name == "" || name == "..":
		if p == "" {
			return syscall.ENOENT
		}
		return errOutside
	case folder == "":
		folder = "."
	}
	up, err := beneath(fd, folder, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(up)
	return errnoOf(f(up, name))
}

// at opens the path itself without opening what it names.
func (g *guest) at(m memory, dir, lookup, at, n uint64, f func(fd int) error) syscall.Errno {
	fd, errno := g.fd(dir)
	if errno != 0 {
		return errno
	}
	p, errno := m.text(at, n)
	if errno != 0 {
		return errno
	}
	flags := unix.O_PATH
	if lookup&1 == 0 {
		flags |= unix.O_NOFOLLOW
	}
	what, err := beneath(fd, p, flags, 0)
	if err != nil {
		return errnoOf(err)
	}
	defer unix.Close(what)
	return errnoOf(f(what))
}

func (g *guest) pathMkdir(m memory, p []uint64) syscall.Errno {
	return g.parent(m, p[0], p[1], p[2], func(dir int, name string) error { return unix.Mkdirat(dir, name, 0o777) })
}

func (g *guest) pathRmdir(m memory, p []uint64) syscall.Errno {
	return g.parent(m, p[0], p[1], p[2], func(dir int, name string) error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) })
}

func (g *guest) pathUnlink(m memory, p []uint64) syscall.Errno {
	return g.parent(m, p[0], p[1], p[2], func(dir int, name string) error { return unix.Unlinkat(dir, name, 0) })
}

func (g *guest) pathFilestat(m memory, p []uint64) syscall.Errno {
	return g.at(m, p[0], p[1], p[2], p[3], func(fd int) error {
		if errno := m.filestat(fd, p[4]); errno != 0 {
			return errno
		}
		return nil
	})
}

func (g *guest) pathSetTimes(m memory, p []uint64) syscall.Errno {
	return g.at(m, p[0], p[1], p[2], p[3], func(fd int) error { return setTimes(fd, p[4], p[5], p[6]) })
}

// pathLink makes a second name. A name that is a link is linked itself.
func (g *guest) pathLink(m memory, p []uint64) syscall.Errno {
	return g.parent(m, p[0], p[2], p[3], func(from int, old string) error {
		return as(g.parent(m, p[4], p[5], p[6], func(to int, name string) error {
			return across(unix.Linkat(from, old, to, name, 0))
		}))
	})
}

func (g *guest) pathRename(m memory, p []uint64) syscall.Errno {
	return g.parent(m, p[0], p[1], p[2], func(from int, old string) error {
		return as(g.parent(m, p[3], p[4], p[5], func(to int, name string) error {
			return across(unix.Renameat(from, old, to, name))
		}))
	})
}

// across tells a change between file systems from a path that leaves its
// folder, for which Linux has one number.
func across(err error) error {
	if err == unix.EXDEV {
		return errCross
	}
	return err
}

func as(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// pathSymlink makes a link; one that leads outside is never followed.
func (g *guest) pathSymlink(m memory, p []uint64) syscall.Errno {
	target, errno := m.text(p[0], p[1])
	if errno != 0 {
		return errno
	}
	return g.parent(m, p[2], p[3], p[4], func(dir int, name string) error { return unix.Symlinkat(target, dir, name) })
}

func (g *guest) pathReadlink(m memory, p []uint64) syscall.Errno {
	return g.parent(m, p[0], p[1], p[2], func(dir int, name string) error {
		to, ok := m.bytes(p[3], p[4])
		if !ok {
			return syscall.EFAULT
		}
		n := 0
		if len(to) > 0 {
			var err error
			if n, err = unix.Readlinkat(dir, name, to); err != nil {
				return err
			}
		}
		return as(m.put32(p[5], uint32(n)))
	})
}

// pathOpen opens a file. Its parameters: folder, lookup flags, path and its
// length, open flags, rights, rights to inherit, file flags, where the number
// goes.
func (g *guest) pathOpen(m memory, p []uint64) syscall.Errno {
	dir, errno := g.fd(p[0])
	if errno != 0 {
		return errno
	}
	name, errno := m.text(p[2], p[3])
	if errno != 0 {
		return errno
	}
	const creat, directory, excl, trunc = 1, 2, 4, 8
	flags, mode := unix.O_NOCTTY, uint64(0)
	if p[1]&1 == 0 {
		flags |= unix.O_NOFOLLOW
	}
	for bit, linux := range map[uint64]int{directory: unix.O_DIRECTORY, excl: unix.O_EXCL, trunc: unix.O_TRUNC} {
		if p[4]&bit != 0 {
			flags |= linux
		}
	}
	if p[4]&creat != 0 {
		flags, mode = flags|unix.O_CREAT, 0o666
	}
	switch write := p[5]&rightsToWrite != 0 || p[4]&trunc != 0; {
	case p[4]&directory != 0 || !write:
	case p[5]&rightRead != 0:
		flags |= unix.O_RDWR
	default:
		flags |= unix.O_WRONLY
	}
	for _, l := range fdFlags {
		if p[7]&l.wasi != 0 {
			flags |= l.linux
		}
	}
	fd, err := beneath(dir, name, flags, mode)
	if err == unix.EISDIR && p[4]&(creat|trunc) == 0 {
		// A folder is opened with all rights there are by some libraries.
		fd, err = beneath(dir, name, flags&^unix.O_ACCMODE|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return errnoOf(err)
	}
	f, err := open(fd, "")
	if err != nil {
		unix.Close(fd)
		return errnoOf(err)
	}
	return m.put32(p[8], g.files.add(f))
}

func (g *guest) preopened(n uint64) (*file, syscall.Errno) {
	f, errno := g.file(n)
	if errno == 0 && f.preopen == "" {
		errno = syscall.EBADF
	}
	return f, errno
}

func (g *guest) prestat(m memory, p []uint64) syscall.Errno {
	f, errno := g.preopened(p[0])
	if errno != 0 {
		return errno
	}
	return m.put64(p[1], uint64(len(f.preopen))<<32) // a tag of 0: a folder
}

func (g *guest) prestatName(m memory, p []uint64) syscall.Errno {
	f, errno := g.preopened(p[0])
	if errno != 0 {
		return errno
	}
	b, ok := m.bytes(p[1], p[2])
	switch {
	case !ok:
		return syscall.EFAULT
	case len(b) < len(f.preopen):
		return syscall.ENAMETOOLONG
	}
	copy(b, f.preopen)
	return 0
}

// entry is one name in a folder.
type entry struct {
	ino  uint64
	kind byte
	name string
}

// fdReaddir writes entries from a cookie on, the last one cut where the buffer
// ends. A folder is read as a whole when it is begun, so that cookies stay
// true while it changes.
func (g *guest) fdReaddir(m memory, p []uint64) syscall.Errno {
	f, errno := g.file(p[0])
	if errno != 0 {
		return errno
	}
	buf, ok := m.bytes(p[1], p[2])
	if !ok {
		return syscall.EFAULT
	}
	cookie := p[3]
	if cookie == 0 {
		if f.entries, errno = entries(f.fd); errno != 0 {
			return errno
		}
	}
	used := 0
	for i := cookie; i < uint64(len(f.entries)) && used < len(buf); i++ {
		e := &f.entries[i]
		var head [24]byte
		binary.LittleEndian.PutUint64(head[0:], i+1)
		binary.LittleEndian.PutUint64(head[8:], e.ino)
		binary.LittleEndian.PutUint32(head[16:], uint32(len(e.name)))
		head[20] = e.kind
		used += copy(buf[used:], head[:])
		used += copy(buf[used:], e.name)
	}
	return m.put32(p[4], uint32(used))
}

// entries reads a folder from its beginning.
func entries(fd int) ([]entry, syscall.Errno) {
	if _, err := unix.Seek(fd, 0, unix.SEEK_SET); err != nil {
		return nil, errnoOf(err)
	}
	var out []entry
	buf := make([]byte, 32<<10)
	for {
		n, errno := again(func() (int, error) { return unix.Getdents(fd, buf) })
		if errno != 0 || n == 0 {
			return out, errno
		}
		// struct linux_dirent64: inode, offset, length of the record, type, name.
		for rest := buf[:n]; len(rest) > 19; {
			size := int(binary.NativeEndian.Uint16(rest[16:]))
			name, _, _ := strings.Cut(string(rest[19:size]), "\x00")
			out = append(out, entry{binary.NativeEndian.Uint64(rest), kindOf(uint32(rest[18]) << 12), name})
			rest = rest[size:]
		}
	}
}
