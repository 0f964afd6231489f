package keeper

import (
	"fmt"
	"sync"
)

// master is the process that a keeper is not to outlive, if there is one. A
// later one takes the place of the one before.
type master struct {
	exits *watcher
	gone  chan struct{} // closed when it has ended

	mu  sync.Mutex
	pid int
}

func newMaster(exits *watcher) *master {
	return &master{exits: exits, gone: make(chan struct{})}
}

// follow makes the process the master. Errors: it has ended already.
func (m *master) follow(pid int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pid == pid {
		return nil
	}
	pidfd, err := openPidfd(pid)
	if err != nil {
		return fmt.Errorf("not to outlive: %w", err)
	}
	ended, err := m.exits.watch(pidfd)
	if err != nil {
		pidfd.Close()
		return err
	}
	m.pid = pid
	go func() {
		<-ended
		pidfd.Close()
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.pid == pid {
			logf("process %d has ended, and with it everything here", pid)
			close(m.gone)
		}
	}()
	return nil
}
