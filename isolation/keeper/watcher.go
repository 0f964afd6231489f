package keeper

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// watcher waits for the end of any number of processes, children or not, with
// one thread.
type watcher struct {
	epoll int
	mu    sync.Mutex
	done  map[int32]chan struct{} // by pidfd
}

func newWatcher() (*watcher, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	w := &watcher{epoll: fd, done: map[int32]chan struct{}{}}
	go w.loop()
	return w, nil
}

// watch returns a channel that closes when the process ends. The caller keeps
// pidfd open until then.
func (w *watcher) watch(pidfd *os.File) (<-chan struct{}, error) {
	fd := int32(pidfd.Fd())
	ended := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: fd}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, int(fd), &ev); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	w.done[fd] = ended
	return ended, nil
}

func (w *watcher) loop() {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(w.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			logf("waiting for processes: %v", err)
			return
		}
		w.mu.Lock()
		for _, ev := range events[:n] {
			if ended, ok := w.done[ev.Fd]; ok {
				delete(w.done, ev.Fd)
				unix.EpollCtl(w.epoll, unix.EPOLL_CTL_DEL, int(ev.Fd), nil)
				close(ended)
			}
		}
		w.mu.Unlock()
	}
}

// openPidfd opens a handle on a process that stays with it whatever its number
// is used for later.
func openPidfd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}
