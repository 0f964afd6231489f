package wasm

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// Kinds of file, as preview 1 numbers them.
const (
	kindUnknown = 0
	kindBlock   = 1
	kindChar    = 2
	kindDir     = 3
	kindRegular = 4
	kindStream  = 6
	kindLink    = 7
)

// Flags of an open file, as preview 1 numbers them, and Linux's.
var fdFlags = []struct {
	wasi  uint64
	linux int
}{{1, unix.O_APPEND}, {2, unix.O_DSYNC}, {4, unix.O_NONBLOCK}, {8, unix.O_RSYNC}, {16, unix.O_SYNC}}

// file is one open file of the module.
type file struct {
	fd      int // of this process
	kind    byte
	preopen string // its path for the module, if it was open from the start
	entries []entry
}

// table numbers the module's open files.
type table []*file

// add gives f the lowest free number.
func (t *table) add(f *file) uint32 {
	for i, other := range *t {
		if other == nil {
			(*t)[i] = f
			return uint32(i)
		}
	}
	*t = append(*t, f)
	return uint32(len(*t) - 1)
}

func (g *guest) file(n uint64) (*file, syscall.Errno) {
	if n >= uint64(len(g.files)) || g.files[n] == nil {
		return nil, syscall.EBADF
	}
	return g.files[n], 0
}

// fd returns this process's number for the module's.
func (g *guest) fd(n uint64) (int, syscall.Errno) {
	f, errno := g.file(n)
	if errno != 0 {
		return -1, errno
	}
	return f.fd, 0
}

// kindOf is preview 1's kind for a mode of Linux.
func kindOf(mode uint32) byte {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return kindBlock
	case unix.S_IFCHR:
		return kindChar
	case unix.S_IFDIR:
		return kindDir
	case unix.S_IFREG:
		return kindRegular
	case unix.S_IFSOCK:
		return kindStream
	case unix.S_IFLNK:
		return kindLink
	}
	return kindUnknown
}

// open makes a file of the module's of one of this process's.
func open(fd int, preopen string) (*file, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	return &file{fd: fd, kind: kindOf(st.Mode), preopen: preopen}, nil
}

// again calls f until no signal interrupts it.
func again(f func() (int, error)) (int, syscall.Errno) {
	for {
		n, err := f()
		if e := errnoOf(err); e != syscall.EINTR {
			return n, e
		}
	}
}

// transfer moves bytes between a file and the buffers that p names.
func (g *guest) transfer(m memory, p []uint64, result uint64, move func(fd int, v [][]byte) (int, error)) syscall.Errno {
	fd, errno := g.fd(p[0])
	if errno != 0 {
		return errno
	}
	v, errno := m.vector(p[1], p[2])
	if errno != 0 {
		return errno
	}
	n := 0
	if len(v) > 0 {
		if n, errno = again(func() (int, error) { return move(fd, v) }); errno != 0 {
			return errno
		}
	}
	return m.put32(result, uint32(n))
}

func (g *guest) fdRead(m memory, p []uint64) syscall.Errno {
	return g.transfer(m, p, p[3], unix.Readv)
}

func (g *guest) fdWrite(m memory, p []uint64) syscall.Errno {
	return g.transfer(m, p, p[3], unix.Writev)
}

func (g *guest) fdPread(m memory, p []uint64) syscall.Errno {
	return g.transfer(m, p, p[4], func(fd int, v [][]byte) (int, error) { return unix.Preadv(fd, v, int64(p[3])) })
}

func (g *guest) fdPwrite(m memory, p []uint64) syscall.Errno {
	return g.transfer(m, p, p[4], func(fd int, v [][]byte) (int, error) { return unix.Pwritev(fd, v, int64(p[3])) })
}

// on calls f with this process's number of the file.
func (g *guest) on(n uint64, f func(fd int) error) syscall.Errno {
	fd, errno := g.fd(n)
	if errno != 0 {
		return errno
	}
	_, errno = again(func() (int, error) { return 0, f(fd) })
	return errno
}

func (g *guest) fdAdvise(_ memory, p []uint64) syscall.Errno {
	return g.on(p[0], func(fd int) error {
		if p[3] > unix.FADV_NOREUSE {
			return unix.EINVAL
		}
		return unix.Fadvise(fd, int64(p[1]), int64(p[2]), int(p[3]))
	})
}

func (g *guest) fdAllocate(_ memory, p []uint64) syscall.Errno {
	return g.on(p[0], func(fd int) error { return unix.Fallocate(fd, 0, int64(p[1]), int64(p[2])) })
}

func (g *guest) fdDatasync(_ memory, p []uint64) syscall.Errno { return g.on(p[0], unix.Fdatasync) }

func (g *guest) fdSync(_ memory, p []uint64) syscall.Errno { return g.on(p[0], unix.Fsync) }

func (g *guest) fdSetSize(_ memory, p []uint64) syscall.Errno {
	return g.on(p[0], func(fd int) error { return unix.Ftruncate(fd, int64(p[1])) })
}

func (g *guest) fdClose(_ memory, p []uint64) syscall.Errno {
	fd, errno := g.fd(p[0])
	if errno != 0 {
		return errno
	}
	g.files[p[0]] = nil
	return errnoOf(unix.Close(fd))
}

// fdRenumber moves a file over another, which is closed by it.
func (g *guest) fdRenumber(_ memory, p []uint64) syscall.Errno {
	f, errno := g.file(p[0])
	if errno != 0 {
		return errno
	}
	old, errno := g.file(p[1])
	if errno != 0 || old == f {
		return errno
	}
	unix.Close(old.fd)
	g.files[p[1]], g.files[p[0]] = f, nil
	return 0
}

func (g *guest) fdSeek(m memory, p []uint64) syscall.Errno {
	return g.seek(m, p[0], int64(p[1]), p[2], p[3])
}

func (g *guest) fdTell(m memory, p []uint64) syscall.Errno {
	return g.seek(m, p[0], 0, unix.SEEK_CUR, p[1])
}

func (g *guest) seek(m memory, n uint64, offset int64, whence, result uint64) syscall.Errno {
	fd, errno := g.fd(n)
	if errno != 0 {
		return errno
	}
	if whence > unix.SEEK_END {
		return syscall.EINVAL
	}
	at, err := unix.Seek(fd, offset, int(whence))
	if err != nil {
		return errnoOf(err)
	}
	return m.put64(result, uint64(at))
}

func (g *guest) fdStat(m memory, p []uint64) syscall.Errno {
	f, errno := g.file(p[0])
	if errno != 0 {
		return errno
	}
	linux, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFL, 0)
	if err != nil {
		return errnoOf(err)
	}
	b, ok := m.bytes(p[1], 24)
	if !ok {
		return syscall.EFAULT
	}
	clear(b)
	b[0] = f.kind
	flags := uint16(0)
	for _, l := range fdFlags {
		// O_SYNC holds the bit of O_DSYNC in it.
		if linux&l.linux == l.linux {
			flags |= uint16(l.wasi)
		}
	}
	binary.LittleEndian.PutUint16(b[2:], flags)
	// What may be done with a file is what Linux lets this process do.
	rights := uint64(allRights)
	if f.kind == kindChar {
		rights &^= rightSeek | rightTell // how C libraries tell a terminal
	}
	binary.LittleEndian.PutUint64(b[8:], rights)
	binary.LittleEndian.PutUint64(b[16:], allRights)
	return 0
}

// Rights of preview 1.
const (
	allRights  = 1<<30 - 1
	rightRead  = 1 << 1
	rightSeek  = 1 << 2
	rightTell  = 1 << 5
	rightWrite = 1 << 6
	// what cannot be done with a file that is open for reading only
	rightsToWrite = rightWrite | 1<<8 | 1<<22
)

func (g *guest) fdSetFlags(_ memory, p []uint64) syscall.Errno {
	return g.on(p[0], func(fd int) error {
		linux := 0
		for _, l := range fdFlags {
			if p[1]&l.wasi != 0 {
				linux |= l.linux
			}
		}
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, linux)
		return err
	})
}

func (g *guest) fdSetRights(_ memory, p []uint64) syscall.Errno {
	_, errno := g.file(p[0])
	return errno
}

func (g *guest) fdFilestat(m memory, p []uint64) syscall.Errno {
	fd, errno := g.fd(p[0])
	if errno != 0 {
		return errno
	}
	return m.filestat(fd, p[1])
}

// filestat writes what is known of the open file.
func (m memory) filestat(fd int, to uint64) syscall.Errno {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errnoOf(err)
	}
	b, ok := m.bytes(to, 64)
	if !ok {
		return syscall.EFAULT
	}
	le := binary.LittleEndian
	clear(b)
	le.PutUint64(b[0:], uint64(st.Dev))
	le.PutUint64(b[8:], st.Ino)
	b[16] = kindOf(st.Mode)
	le.PutUint64(b[24:], uint64(st.Nlink))
	le.PutUint64(b[32:], uint64(st.Size))
	le.PutUint64(b[40:], uint64(st.Atim.Nano()))
	le.PutUint64(b[48:], uint64(st.Mtim.Nano()))
	le.PutUint64(b[56:], uint64(st.Ctim.Nano()))
	return 0
}

func (g *guest) fdSetTimes(_ memory, p []uint64) syscall.Errno {
	return g.on(p[0], func(fd int) error { return setTimes(fd, p[1], p[2], p[3]) })
}

// setTimes sets the times of an open file, also of one opened as a path only.
func setTimes(fd int, access, change, flags uint64) error {
	pick := func(t uint64, given, now uint64) unix.Timespec {
		switch {
		case flags&given != 0:
			return unix.NsecToTimespec(int64(t))
		case flags&now != 0:
			return unix.Timespec{Nsec: unix.UTIME_NOW}
		}
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	ts := []unix.Timespec{pick(access, 1, 2), pick(change, 4, 8)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, procPath(fd), ts, 0)
}
