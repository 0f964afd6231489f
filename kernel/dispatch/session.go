package dispatch

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// session is one agent's connection.
type session struct {
	d      *Dispatch
	conn   *tls.Conn
	node   sdk.NodeID
	number uint64
	done   chan struct{} // closed when the kernel knows of the end

	mu      sync.Mutex
	queue   []byte // frames to be sent
	writing bool   // a goroutine is sending
	full    bool   // the full state has been queued
	ended   bool
	calls   map[uint64]*call
	next    uint64 // call numbers

	out sync.Mutex // held while writing to conn
}

// serve handles one connection from its handshake to its end.
func (d *Dispatch) serve(conn net.Conn) {
	s, hello, task, err := d.greet(conn)
	<-d.turns
	if err != nil {
		d.cfg.Logger.Debug("agent turned away", "from", conn.RemoteAddr().String(), "error", err)
		return
	}
	if task != nil {
		d.carry(s.conn, s.node, task)
		return
	}
	defer close(s.done)
	defer s.over()
	if old := d.register(s); old != nil {
		old.close()
		<-old.done
	}
	if !s.current() {
		return
	}
	if err := d.cfg.Kernel.AgentConnected(s.node, s.number, hello); err != nil {
		s.refuse(err)
		return
	}
	err = s.read()
	s.over()
	d.cfg.Logger.Info("agent's session ended", "node", string(s.node), "session", s.number, "error", err)
	d.cfg.Kernel.AgentLost(s.node, s.number)
}

// greet does the handshake and reads the first frame, all within the silence
// allowed. It is a Hello, or says which session with a task this is.
func (d *Dispatch) greet(raw net.Conn) (*session, *sdk.Hello, *sdk.SessionHello, error) {
	conn := tls.Server(raw, d.cfg.TLS)
	if err := conn.SetDeadline(time.Now().Add(d.cfg.Silence)); err != nil {
		return nil, nil, nil, err
	}
	if err := conn.Handshake(); err != nil {
		return nil, nil, nil, err
	}
	node, err := d.cfg.Node(conn.ConnectionState())
	if err != nil {
		return nil, nil, nil, err
	}
	s := &session{d: d, conn: conn, node: node, number: d.next.Add(1), done: make(chan struct{}), calls: map[uint64]*call{}}
	var buf []byte
	kind, body, err := wire.Read(conn, &buf)
	if err != nil {
		return nil, nil, nil, err
	}
	if kind == wire.FrameSession {
		task := &sdk.SessionHello{}
		if err := decode(body, task); err != nil {
			return nil, nil, nil, err
		}
		if tcp, ok := raw.(*net.TCPConn); ok {
			_ = tcp.SetKeepAliveConfig(probes) // without, it only takes longer to notice
		}
		return s, nil, task, conn.SetDeadline(time.Time{})
	}
	hello := &sdk.Hello{}
	if kind != wire.FrameHello {
		err = sdk.Errorf(sdk.Invalid, "agent", "the first frame is of kind %d, not a hello", kind)
	} else if err = decode(body, hello); err == nil && hello.Protocol != sdk.AgentProtocol {
		err = sdk.Errorf(sdk.Unsupported, "agent", "it speaks protocol %d, this server %d", hello.Protocol, sdk.AgentProtocol).
			ToFix("run the same version on servers and agents")
	}
	if err != nil {
		s.refuse(err)
		return nil, nil, nil, err
	}
	return s, hello, nil, conn.SetDeadline(time.Time{})
}

// over ends all that belongs to the session here.
func (s *session) over() {
	s.close()
	s.dropCalls()
	s.d.unregister(s)
}

// current reports whether no newer session took this one's place.
func (s *session) current() bool { return s.d.session(s.node) == s }

// patient lets the connection be silent for so long, however long a frame is.
type patient struct {
	conn    net.Conn
	silence time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(p.silence)); err != nil {
		return 0, err
	}
	return p.conn.Read(b)
}

// keepBuffer is the largest read buffer that an idle session keeps.
const keepBuffer = 16 << 10

// read takes frames until the session ends; the error says why.
func (s *session) read() error {
	in := bufio.NewReaderSize(patient{s.conn, s.d.cfg.Silence}, 4<<10)
	var buf []byte
	for {
		kind, body, err := wire.Read(in, &buf)
		if err != nil {
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				return sdk.Errorf(sdk.Timeout, "agent", "not a word for %v", s.d.cfg.Silence)
			}
			return err
		}
		if err := s.take(kind, body); err != nil {
			return err
		}
		if cap(buf) > keepBuffer {
			buf = nil
		}
	}
}

// take acts on one frame. Unknown kinds are passed over: a newer agent may say
// more.
func (s *session) take(kind byte, body []byte) error {
	switch kind {
	case wire.FrameReport:
		r := &sdk.Report{}
		if err := decode(body, r); err != nil {
			return err
		}
		if s.current() {
			s.d.cfg.Kernel.AgentReport(s.node, s.number, r)
		}
	case wire.FrameMachine:
		m := &sdk.MachineUpdate{}
		if err := decode(body, m); err != nil {
			return err
		}
		if s.current() {
			s.d.cfg.Kernel.AgentMachine(s.node, s.number, m)
		}
	case wire.FrameUsage:
		u := &sdk.UsageReport{}
		if err := decode(body, u); err != nil {
			return err
		}
		if s.current() {
			s.d.cfg.Kernel.AgentUsage(s.node, s.number, u)
		}
	case wire.FrameLogChunk:
		c := sdk.LogChunk{}
		if err := decode(body, &c); err != nil {
			return err
		}
		s.deliver(c)
	}
	return nil
}

// wants reports whether a state may be sent now: the first must be full.
func (s *session) wants(full bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = s.full || full
	return s.full
}

// send queues a frame holding m.
func (s *session) send(kind byte, m wire.Marshaler) {
	body, err := m.MarshalMsg(nil)
	if err == nil && len(body) > wire.MaxBody {
		err = sdk.Errorf(sdk.TooLarge, "frame", "%d bytes, more than %d", len(body), wire.MaxBody)
	}
	if err != nil {
		// The agent would miss it without knowing. It begins again instead.
		s.d.cfg.Logger.Error("not sent to agent", "node", string(s.node), "kind", kind, "error", err)
		s.close()
		return
	}
	s.push(wire.AppendFrame(make([]byte, 0, wire.HeaderSize+len(body)), kind, body))
}

// push queues a whole frame and sees that somebody sends it.
func (s *session) push(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	if len(s.queue) > s.d.cfg.Queue {
		s.d.cfg.Logger.Warn("agent does not read; its session is dropped", "node", string(s.node), "waiting", len(s.queue))
		s.endLocked()
		return
	}
	s.queue = append(s.queue, frame...)
	if !s.writing {
		s.writing = true
		s.d.wg.Go(s.drain) // Close cannot be past waiting: serve runs until ended
	}
}

// drain sends what is queued, all of it in one write, until nothing is left.
func (s *session) drain() {
	for {
		s.mu.Lock()
		b := s.queue
		s.queue = nil
		if len(b) == 0 || s.ended {
			s.writing = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if err := s.write(b); err != nil {
			s.close()
		}
	}
}

func (s *session) write(b []byte) error {
	s.out.Lock()
	defer s.out.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.d.cfg.Silence)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// close ends the session; read returns soon after.
func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked()
}

func (s *session) endLocked() {
	if !s.ended {
		s.ended = true
		s.queue = nil
		// The connection below: closing TLS itself would wait to say goodbye.
		s.conn.NetConn().Close()
	}
}

// refuse tells the agent why there will be no session, and waits a moment for
// it to hang up: closing at once could destroy what was sent.
func (s *session) refuse(why error) {
	text := why.Error()
	var f *sdk.Fault
	if errors.As(why, &f) && f.Fix != "" {
		text += "; " + f.Fix
	}
	s.mu.Lock()
	s.queue, s.ended = nil, true
	s.mu.Unlock()
	if s.write(wire.AppendFrame(nil, wire.FrameRefused, []byte(text))) != nil || s.conn.CloseWrite() != nil {
		return
	}
	if s.conn.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.Copy(io.Discard, s.conn)
	}
}

// maxElements bounds the lists of one frame; a node has no more tasks than that.
const maxElements = 1 << 20

// decode reads what an agent sent. The agent is somebody else's machine: what it
// claims to send is held against what it sent before memory is made for it.
func decode(body []byte, m wire.Unmarshaler) error {
	if err := wire.Bounded(body, maxElements); err != nil {
		return err
	}
	return wire.Decode(body, m)
}
