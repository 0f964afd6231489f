package keeper

import (
	"sync"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// audience are those who watch what a task prints, as it comes.
type audience struct {
	mu   sync.Mutex
	seat map[*spectator]bool
}

// spectator is one who watches.
type spectator struct {
	lines chan line // closed when it has left, or had to
	slow  bool      // it had to
}

type line struct {
	stream int
	text   []byte
}

// behind: spectators may be this many reads of the output behind, of 32 KiB at most.
const behind = 64

func (a *audience) join() *spectator {
	s := &spectator{lines: make(chan line, behind)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seat == nil {
		a.seat = map[*spectator]bool{}
	}
	a.seat[s] = true
	return s
}

func (a *audience) leave(s *spectator) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.seat[s] {
		delete(a.seat, s)
		close(s.lines)
	}
}

// show hands text to everybody. It never waits: the task would. Who has no
// room for it has to go.
func (a *audience) show(stream int, text []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seat) == 0 || len(text) == 0 {
		return
	}
	l := line{stream, append([]byte(nil), text...)}
	for s := range a.seat {
		select {
		case s.lines <- l:
		default:
			delete(a.seat, s)
			s.slow = true
			close(s.lines)
		}
	}
}

// attach shows the output of the container's own program until that ends.
func (k *keeper) attach(p *place) (func(session.Transport), error) {
	s := p.out.watch.join()
	return func(t session.Transport) {
		conn := session.New(t, nil)
		defer conn.Close()
		defer p.out.watch.leave(s)
		conn.Send(session.Started, nil)
		k.finish(conn, k.relay(conn, p, s))
	}, nil
}

// relay sends what the spectator sees, and returns how it ended.
func (k *keeper) relay(conn *session.Conn, p *place, s *spectator) session.Result {
	kinds := [2]byte{session.Out, session.Err}
	ended := p.t.closed
	if p.box != p.t.own {
		ended = p.out.closed
	}
	for {
		select {
		case l, ok := <-s.lines:
			if !ok && !s.slow {
				return p.result()
			}
			if !ok {
				return session.Result{Error: sdk.Errorf(sdk.Exhausted, "task/"+string(p.t.id), "printed faster than could be shown").
					ToFix("attach again, or read its logs, which are whole")}
			}
			if conn.Send(kinds[l.stream], l.text) != nil {
				return session.Result{}
			}
		case <-ended:
			// Its exit is recorded after the last of its output was shown:
			// nothing is added to what waits now.
			ended = nil
			p.out.watch.leave(s)
		case <-conn.Done():
			return session.Result{}
		case <-k.ending:
			return session.Result{Error: sdk.Errorf(sdk.Unavailable, "task/"+string(p.t.id), "the node's keeper is replaced").
				ToFix("attach again; the task runs on")}
		}
	}
}

// result returns how what was watched has ended, as far as it is known.
func (p *place) result() session.Result {
	p.t.mu.Lock()
	defer p.t.mu.Unlock()
	e := p.t.exit
	if p.box != p.t.own {
		e = p.box.trace.Exit
	}
	if e == nil || !e.Known {
		return session.Result{Error: sdk.Errorf(sdk.NotFound, "task/"+string(p.t.id), "ended, and how cannot be known")}
	}
	return session.Result{Code: e.Code}
}
