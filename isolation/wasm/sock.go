package wasm

import (
	"encoding/binary"
	"math"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sockAccept takes a connection of one of the task's ports.
func (g *guest) sockAccept(m memory, p []uint64) syscall.Errno {
	fd, errno := g.fd(p[0])
	if errno != 0 {
		return errno
	}
	flags := unix.SOCK_CLOEXEC
	if p[1]&4 != 0 {
		flags |= unix.SOCK_NONBLOCK
	}
	conn, errno := again(func() (int, error) {
		n, _, err := unix.Accept4(fd, flags)
		return n, err
	})
	if errno != 0 {
		return errno
	}
	return m.put32(p[2], g.files.add(&file{fd: conn, kind: kindStream}))
}

func (g *guest) sockRecv(m memory, p []uint64) syscall.Errno {
	flags := 0
	for bit, linux := range map[uint64]int{1: unix.MSG_PEEK, 2: unix.MSG_WAITALL} {
		if p[3]&bit != 0 {
			flags |= linux
		}
	}
	b, ok := m.bytes(p[5], 2)
	if !ok {
		return syscall.EFAULT
	}
	clear(b) // a stream's messages are never cut
	return g.transfer(m, p, p[4], func(fd int, v [][]byte) (int, error) {
		n, _, _, _, err := unix.RecvmsgBuffers(fd, v, nil, flags)
		return n, err
	})
}

func (g *guest) sockSend(m memory, p []uint64) syscall.Errno {
	return g.transfer(m, p, p[4], func(fd int, v [][]byte) (int, error) {
		return unix.SendmsgBuffers(fd, v, nil, nil, unix.MSG_NOSIGNAL)
	})
}

func (g *guest) sockShutdown(_ memory, p []uint64) syscall.Errno {
	how, ok := map[uint64]int{1: unix.SHUT_RD, 2: unix.SHUT_WR, 3: unix.SHUT_RDWR}[p[1]]
	if !ok {
		return syscall.EINVAL
	}
	return g.on(p[0], func(fd int) error { return unix.Shutdown(fd, how) })
}

// Kinds of event, and the most that a module may wait for at once.
const (
	eventClock = 0
	eventRead  = 1
	eventWrite = 2
	maxEvents  = 16 << 10
)

// wait is one thing that a module waits for.
type wait struct {
	user  uint64
	event byte
	errno syscall.Errno // it cannot be waited for
	fd    int           // index of what poll(2) is asked, or -1
	until time.Duration // from now
}

// poll waits until at least one of the things is so. Its parameters: the
// subscriptions, where events go, how many there are, where their number goes.
func (g *guest) poll(m memory, p []uint64) syscall.Errno {
	n := p[2]
	if n == 0 || n > maxEvents {
		return syscall.EINVAL
	}
	in, ok := m.bytes(p[0], n*48)
	if !ok {
		return syscall.EFAULT
	}
	out, ok := m.bytes(p[1], n*32)
	if !ok {
		return syscall.EFAULT
	}
	began := time.Now()
	timeout, ready := time.Duration(math.MaxInt64), false
	waits, fds := make([]wait, n), []unix.PollFd(nil)
	for i := range waits {
		w, fd, events := g.subscription(in[i*48:])
		switch {
		case w.errno != 0:
			ready = true
		case w.event == eventClock:
			timeout = min(timeout, w.until)
		default:
			w.fd = len(fds)
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: events})
		}
		waits[i] = w
	}
	if ready {
		timeout = 0
	}
	if errno := sleep(fds, began, timeout); errno != 0 {
		return errno
	}
	past, used := time.Since(began), uint32(0)
	for _, w := range waits {
		hangup := false
		switch {
		case w.errno != 0:
		case w.event == eventClock:
			if past < w.until {
				continue
			}
		default:
			got := fds[w.fd].Revents
			if got == 0 {
				continue
			}
			hangup = got&(unix.POLLHUP|unix.POLLRDHUP) != 0
			if got&unix.POLLNVAL != 0 {
				w.errno = syscall.EBADF
			}
		}
		e := out[used*32 : used*32+32]
		clear(e)
		binary.LittleEndian.PutUint64(e, w.user)
		binary.LittleEndian.PutUint16(e[8:], number(w.errno))
		e[10] = w.event
		if w.event != eventClock {
			// How many bytes there are is not known; one is what a reader
			// needs to know.
			binary.LittleEndian.PutUint64(e[16:], 1)
			if hangup {
				e[24] = 1
			}
		}
		used++
	}
	return m.put32(p[3], used)
}

// subscription reads what a module waits for.
func (g *guest) subscription(b []byte) (w wait, fd int, events int16) {
	le := binary.LittleEndian
	w = wait{user: le.Uint64(b), event: b[8], fd: -1}
	switch w.event {
	case eventClock:
		clock, at := le.Uint32(b[16:]), time.Duration(min(le.Uint64(b[24:]), math.MaxInt64))
		if clock >= uint32(len(clocks)) {
			w.errno = syscall.EINVAL
			return w, -1, 0
		}
		if le.Uint16(b[40:])&1 != 0 { // a time on that clock, not from now
			var now unix.Timespec
			if err := unix.ClockGettime(clocks[clock], &now); err != nil {
				w.errno = errnoOf(err)
			}
			at -= time.Duration(now.Nano())
		}
		w.until = max(at, 0)
	case eventRead, eventWrite:
		if fd, w.errno = g.fd(uint64(le.Uint32(b[16:]))); w.event == eventRead {
			return w, fd, unix.POLLIN | unix.POLLRDHUP
		}
		return w, fd, unix.POLLOUT
	default:
		w.errno = syscall.EINVAL
	}
	return w, fd, 0
}

// sleep waits for one of fds until the timeout since began.
func sleep(fds []unix.PollFd, began time.Time, timeout time.Duration) syscall.Errno {
	for {
		var limit *unix.Timespec
		if timeout < math.MaxInt64 {
			t := unix.NsecToTimespec(int64(max(timeout-time.Since(began), 0)))
			limit = &t
		}
		if _, err := unix.Ppoll(fds, limit, nil); err != unix.EINTR {
			return errnoOf(err)
		}
	}
}
