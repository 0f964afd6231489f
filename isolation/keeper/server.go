package keeper

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// server answers at the keeper's socket.
type server struct {
	k *keeper
	l *net.UnixListener
	// busy is held for reading by requests that change something, and for
	// writing by the end of it all.
	busy sync.RWMutex
	once sync.Once
	end  chan struct{}
}

func listen(k *keeper) (*server, error) {
	s := &server{k: k, end: make(chan struct{})}
	// The folder's lock is held, so a socket that is there is a dead one.
	if err := os.Remove(filepath.Join(k.state, "keeper.sock")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	err := runc.WithSocket(k.state, func(a *net.UnixAddr) (err error) {
		s.l, err = net.ListenUnix("unix", a)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.l.SetUnlinkOnClose(false)
	return s, nil
}

// run answers until the keeper has to end.
func (s *server) run() {
	go func() {
		select {
		case <-s.k.master.gone:
			s.shutdown(func() {})
		case <-s.end:
		}
	}()
	go func() {
		for {
			conn, err := s.l.AcceptUnix()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	<-s.end
}

// deaf stops taking requests and waits for those under way.
func (s *server) deaf() {
	s.busy.Lock()
	s.k.warm.close()
	s.l.Close()
	os.Remove(filepath.Join(s.k.state, "keeper.sock"))
}

// shutdown ends everything.
func (s *server) shutdown(told func()) {
	s.once.Do(func() {
		s.deaf()
		s.k.destroy()
		told()
		close(s.end)
	})
}

// retire ends the keeper only.
func (s *server) retire(told func()) {
	s.once.Do(func() {
		s.deaf()
		s.k.suspend()
		told()
		close(s.end)
	})
}

func (s *server) serve(conn *net.UnixConn) {
	defer conn.Close()
	var buf []byte
	op, body, err := wire.Read(conn, &buf)
	if err != nil {
		return
	}
	switch op {
	case runc.OpExits:
		s.exits(conn)
		return
	case runc.OpOpen:
		s.open(conn, body)
		return
	case runc.OpShutdown:
		s.shutdown(func() { runc.Send(conn, runc.Answer, nil) })
		select {} // the connection closes with the process: then it is gone
	case runc.OpRetire:
		s.retire(func() { runc.Send(conn, runc.Answer, nil) })
		select {}
	}
	answer, err := s.answer(op, body)
	if err != nil {
		runc.Send(conn, runc.Refusal, runc.NewFailure(err))
		return
	}
	if err := runc.Send(conn, runc.Answer, answer); err != nil {
		logf("answer: %v", err)
	}
}

func (s *server) answer(op byte, body []byte) (any, error) {
	if !s.busy.TryRLock() {
		return nil, sdk.Errorf(sdk.Unavailable, "keeper", "is ending")
	}
	defer s.busy.RUnlock()
	var t runc.Target
	switch op {
	case runc.OpHello:
		var h runc.Hello
		if err := runc.Parse(body, &h); err != nil {
			return nil, err
		}
		if h.DieWith != 0 {
			if err := s.k.master.follow(h.DieWith); err != nil {
				return nil, sdk.Errorf(sdk.Invalid, "keeper", "%v", err)
			}
		}
		return s.k.info(), nil
	case runc.OpCreate:
		spec := new(isolation.Spec)
		if err := runc.Parse(body, spec); err != nil {
			return nil, err
		}
		return nil, s.k.create(spec)
	case runc.OpList:
		return s.k.list(), nil
	case runc.OpUsage:
		var q runc.Targets
		if err := runc.Parse(body, &q); err != nil {
			return nil, err
		}
		return s.k.usage(q.IDs), nil
	case runc.OpUpdate:
		var c runc.Change
		if err := runc.Parse(body, &c); err != nil {
			return nil, err
		}
		if c.Limits == nil {
			return nil, sdk.Errorf(sdk.Invalid, "keeper", "no limits are given")
		}
		return nil, s.k.update(c.ID, c.Limits)
	case runc.OpStart, runc.OpSignal, runc.OpRemove:
		if err := runc.Parse(body, &t); err != nil {
			return nil, err
		}
	}
	switch op {
	case runc.OpStart:
		return nil, s.k.start(t.ID)
	case runc.OpSignal:
		c, err := s.k.task(t.ID)
		if err != nil {
			return nil, err
		}
		return nil, c.signal(t.Signal, t.All)
	case runc.OpRemove:
		return nil, s.k.remove(t.ID)
	}
	return nil, sdk.Errorf(sdk.Unsupported, "keeper", "request %d is unknown to it", op).
		ToFix("open the runtime again: that replaces an old keeper")
}

// exits tells of every exit until the other side goes.
func (s *server) exits(conn *net.UnixConn) {
	c := s.k.subscribe()
	defer s.k.unsubscribe(c)
	if err := runc.Send(conn, runc.Answer, nil); err != nil {
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var b [1]byte
		conn.Read(b[:])
	}()
	for {
		select {
		case id, ok := <-c:
			if !ok || runc.Send(conn, runc.Answer, runc.Target{ID: id}) != nil {
				return
			}
		case <-gone:
			return
		case <-s.end:
			return
		}
	}
}
