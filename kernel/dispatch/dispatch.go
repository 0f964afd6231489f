// Package dispatch holds the servers' side of the agents' streams: one TLS
// connection per agent, on which desired state goes down and statuses come up.
//
// A session begins with the agent's Hello and the kernel's consent, and lasts
// until the connection breaks, either side is silent for 6 seconds, or the same
// node connects again: then the newer session replaces the older, and the
// kernel hears of the end of one before the beginning of the next. Heartbeats
// go both ways every 2 seconds.
//
// Nothing waits for an agent. What is to be sent is queued, everything queued
// goes out in one write, and an agent that lets its queue grow past a bound
// loses its session: it gets all it should know when it connects again. An idle
// session costs one goroutine.
//
// A session with a task (see sdk/session) goes over a connection of its own,
// which the node opens when it is asked to and which its first frame tells
// apart. Its bytes are not looked at here.
package dispatch

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// Kernel is who the sessions are for. Calls about one node come one after the
// other, those about different nodes at the same time.
type Kernel interface {
	// AgentConnected is asked to take a session in; it answers when that is
	// committed, after it gave Send all that the node should run. Its error is
	// told to the agent.
	AgentConnected(node sdk.NodeID, session uint64, h *sdk.Hello) error
	// AgentReport takes a report in and calls Ack when it is committed.
	AgentReport(node sdk.NodeID, session uint64, r *sdk.Report)
	// AgentMachine takes in what a machine is now.
	AgentMachine(node sdk.NodeID, session uint64, m *sdk.MachineUpdate)
	// AgentUsage takes in what a node's tasks use. It does not block.
	AgentUsage(node sdk.NodeID, session uint64, u *sdk.UsageReport)
	// AgentLost tells of the end of a session that AgentConnected took in.
	AgentLost(node sdk.NodeID, session uint64)
}

// Config says how to serve agents.
type Config struct {
	// Listener accepts connections; TLS must demand the agent's certificate.
	Listener net.Listener
	TLS      *tls.Config
	// Node returns whose connection it is. Errors end it.
	Node   func(tls.ConnectionState) (sdk.NodeID, error)
	Kernel Kernel
	Logger *slog.Logger // nil: slog.Default
	// Heartbeat (default 2 s) and Silence (default 6 s).
	Heartbeat, Silence time.Duration
	// Queue bounds, in bytes, what waits to be sent to one agent (default 8 MiB).
	Queue int
}

const (
	// handshakes bounds connections that have not yet said who they are.
	handshakes = 256
	// wheel is the number of turns in which a round of heartbeats is sent, so
	// that ten thousand of them do not come at once.
	wheel = 20
)

// Dispatch serves the agents of one server.
type Dispatch struct {
	cfg   Config
	turns chan struct{} // tokens for handshakes
	next  atomic.Uint64 // session numbers
	stop  chan struct{}
	wg    sync.WaitGroup

	mu       sync.Mutex
	sessions map[sdk.NodeID]*session
	beats    [wheel]map[*session]struct{}
	conns    map[net.Conn]struct{}
	waiters  map[string]*waiter // by the key of the session they wait for
	closed   bool
}

// Start serves agents until Close. Errors: Invalid for a configuration that
// lacks a part.
func Start(cfg Config) (*Dispatch, error) {
	if cfg.Listener == nil || cfg.TLS == nil || cfg.Node == nil || cfg.Kernel == nil {
		return nil, sdk.Errorf(sdk.Invalid, "dispatch", "a listener, TLS, a way to know nodes and a kernel are needed")
	}
	if cfg.TLS.ClientAuth != tls.RequireAndVerifyClientCert {
		return nil, sdk.Errorf(sdk.Invalid, "dispatch", "agents must show a certificate")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 2 * time.Second
	}
	if cfg.Silence == 0 {
		cfg.Silence = 6 * time.Second
	}
	if cfg.Queue == 0 {
		cfg.Queue = 8 << 20
	}
	d := &Dispatch{
		cfg: cfg, turns: make(chan struct{}, handshakes), stop: make(chan struct{}),
		sessions: map[sdk.NodeID]*session{}, conns: map[net.Conn]struct{}{}, waiters: map[string]*waiter{},
	}
	for i := range d.beats {
		d.beats[i] = map[*session]struct{}{}
	}
	d.next.Store(uint64(time.Now().UnixNano())) // no number of an earlier life comes back
	d.wg.Go(d.accept)
	d.wg.Go(d.heartbeats)
	return d, nil
}

// Addr returns where agents connect.
func (d *Dispatch) Addr() net.Addr { return d.cfg.Listener.Addr() }

// Sessions returns how many agents are connected.
func (d *Dispatch) Sessions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sessions)
}

// Close ends all sessions and waits until the kernel heard of it.
func (d *Dispatch) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.stop)
	for c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	err := d.cfg.Listener.Close()
	d.wg.Wait()
	return err
}

func (d *Dispatch) accept() {
	for {
		select {
		case d.turns <- struct{}{}:
		case <-d.stop:
			return
		}
		conn, err := d.cfg.Listener.Accept()
		if err != nil {
			<-d.turns
			if errors.Is(err, net.ErrClosed) {
				return
			}
			d.cfg.Logger.Warn("agent not accepted", "error", err)
			select { // out of descriptors, most likely: let some come back
			case <-time.After(50 * time.Millisecond):
			case <-d.stop:
				return
			}
			continue
		}
		if !d.track(conn, true) {
			<-d.turns
			conn.Close()
			return
		}
		d.wg.Go(func() {
			defer d.track(conn, false)
			defer conn.Close()
			d.serve(conn)
		})
	}
}

// track knows open connections, so that Close can end them. It reports whether
// Close has not been called.
func (d *Dispatch) track(c net.Conn, open bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if open && !d.closed {
		d.conns[c] = struct{}{}
	} else {
		delete(d.conns, c)
	}
	return !d.closed
}

// heartbeats reaches every session once in each interval.
func (d *Dispatch) heartbeats() {
	beat := wire.AppendFrame(nil, wire.FrameHeartbeat, nil)
	tick := time.NewTicker(max(d.cfg.Heartbeat/wheel, time.Millisecond))
	defer tick.Stop()
	var due []*session
	for turn := 0; ; turn = (turn + 1) % wheel {
		select {
		case <-d.stop:
			return
		case <-tick.C:
		}
		due = due[:0]
		d.mu.Lock()
		for s := range d.beats[turn] {
			due = append(due, s)
		}
		d.mu.Unlock()
		for _, s := range due {
			s.push(beat)
		}
		clear(due)
	}
}

// register makes s its node's session and returns the one before.
func (d *Dispatch) register(s *session) (old *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	old = d.sessions[s.node]
	d.sessions[s.node] = s
	d.beats[s.number%wheel][s] = struct{}{}
	return old
}

func (d *Dispatch) unregister(s *session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sessions[s.node] == s {
		delete(d.sessions, s.node)
	}
	delete(d.beats[s.number%wheel], s)
}

// session returns a node's session, nil when there is none.
func (d *Dispatch) session(node sdk.NodeID) *session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[node]
}

// Send gives a node what it should run. It never waits. Without a session
// nothing happens; a difference before the session's first full state is
// dropped, since that state will hold it. The argument is not kept.
func (d *Dispatch) Send(node sdk.NodeID, desired *sdk.Desired) {
	s := d.session(node)
	if s == nil || !s.wants(desired.Full) {
		return
	}
	s.send(wire.FrameDesired, desired)
}

// Ack tells an agent that its reports up to seq are committed, if the session
// still is the node's.
func (d *Dispatch) Ack(node sdk.NodeID, session, seq uint64) {
	if s := d.session(node); s != nil && s.number == session {
		s.send(wire.FrameReportAck, &sdk.ReportAck{Seq: seq})
	}
}

// Drop ends a node's session, if it has one; the agent will try again.
func (d *Dispatch) Drop(node sdk.NodeID) {
	if s := d.session(node); s != nil {
		s.close()
	}
}

// Logs asks a node for a task's output. req.Call is set here. The channel is
// closed after the last chunk (EOF), when ctx ends, or, without EOF, when the
// reader is slower than the node for more than a second. Errors: Unavailable
// when the node has no session with this server.
func (d *Dispatch) Logs(ctx context.Context, node sdk.NodeID, req sdk.LogRequest) (<-chan sdk.LogChunk, error) {
	s := d.session(node)
	if s == nil {
		return nil, sdk.Errorf(sdk.Unavailable, "node "+string(node), "it is not connected").
			ToFix("its output can be read when it is back")
	}
	return s.logs(ctx, req)
}
