package session

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"sync"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// Transport carries the frames of a session.
type Transport interface {
	// Receive returns the next frame. Its body is valid until the next call.
	Receive() (kind byte, body []byte, err error)
	// Send sends one frame. It may be called concurrently.
	Send(kind byte, body []byte) error
	// Close ends the transport, and with it the calls under way.
	Close() error
}

// Stream returns the transport over a connection of bytes, as frames of
// sdk/wire.
func Stream(rwc io.ReadWriteCloser) Transport { return &stream{rwc: rwc} }

type stream struct {
	rwc io.ReadWriteCloser
	in  []byte
	mu  sync.Mutex
	out []byte
}

func (s *stream) Receive() (byte, []byte, error) { return wire.Read(s.rwc, &s.in) }

func (s *stream) Send(kind byte, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = wire.AppendFrame(s.out[:0], kind, body)
	_, err := s.rwc.Write(s.out)
	return err
}

func (s *stream) Close() error { return s.rwc.Close() }

// Conn is one end of a session, the client's or the task's. It keeps to what
// the other side has room for, and bounds what that side may send.
type Conn struct {
	t      Transport
	urgent func(kind byte, body []byte)
	done   chan struct{}

	mu     sync.Mutex
	change sync.Cond // something below has changed
	queue  []frame   // received, not yet taken
	unread int       // bytes of data that the other side had room for and has not been given back
	taken  int       // of them, taken since the last More
	room   int       // bytes of data that may be sent
	marks  int       // frames that came and are no data
	err    error     // the connection has ended
}

// maxMarks is how many frames that are no data a session may have: each kind
// comes once.
const maxMarks = 8

type frame struct {
	kind byte
	body []byte
}

// New begins one end of a session on t. Frames of Resize and Signal are handed
// to urgent as they come, before data that is still waiting; nil: they are left
// out. The body is valid during the call. Close ends it.
func New(t Transport, urgent func(kind byte, body []byte)) *Conn {
	c := &Conn{t: t, urgent: urgent, done: make(chan struct{}), room: Window}
	c.change.L = &c.mu
	go c.read()
	return c
}

// Done is closed when the connection has ended, by either side. Frames that had
// come before can still be received.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close ends the session. What was sent before is on its way.
func (c *Conn) Close() error { return c.t.Close() }

func isData(kind byte) bool { return kind == In || kind == Out || kind == Err }

func (c *Conn) read() {
	defer close(c.done)
	for {
		kind, body, err := c.t.Receive()
		if err == nil {
			err = c.take(kind, body)
		}
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.change.Broadcast()
			c.mu.Unlock()
			c.t.Close()
			return
		}
	}
}

// take keeps a frame that came.
func (c *Conn) take(kind byte, body []byte) error {
	switch kind {
	case Resize, Signal:
		if c.urgent != nil {
			c.urgent(kind, body)
		}
		return nil
	case More:
		if len(body) != 4 {
			return sdk.Errorf(sdk.Corrupt, "session", "room is told in %d bytes, not in 4", len(body))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.room += int(binary.LittleEndian.Uint32(body)); c.room > Window {
			return sdk.Errorf(sdk.Corrupt, "session", "more room than was ever taken")
		}
		c.change.Broadcast()
		return nil
	case In, InEnd, Out, Err, OutEnd, Started, End:
	default:
		return nil // of a later version
	}
	if len(body) > MaxData {
		return sdk.Errorf(sdk.TooLarge, "session", "a frame of %d bytes, more than %d", len(body), MaxData)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !isData(kind) {
		if c.marks++; c.marks > maxMarks {
			return sdk.Errorf(sdk.Corrupt, "session", "more than %d frames of kind %d and the like", maxMarks, kind)
		}
	} else {
		if c.unread += len(body); c.unread > Window {
			return sdk.Errorf(sdk.TooLarge, "session", "more data than there was room for")
		}
		// Small pieces that wait are put together.
		if i := len(c.queue) - 1; i >= 0 && c.queue[i].kind == kind && len(c.queue[i].body)+len(body) <= MaxData {
			c.queue[i].body = append(c.queue[i].body, body...)
			return nil
		}
	}
	c.queue = append(c.queue, frame{kind, append([]byte(nil), body...)})
	c.change.Broadcast()
	return nil
}

// Receive returns the next frame that is no Resize, Signal or More, and makes
// room for as much. Errors: io.EOF when the other side has closed the
// connection, else why it ended.
func (c *Conn) Receive() (kind byte, body []byte, err error) {
	c.mu.Lock()
	for len(c.queue) == 0 && c.err == nil {
		c.change.Wait()
	}
	if len(c.queue) == 0 {
		defer c.mu.Unlock()
		return 0, nil, c.err
	}
	f := c.queue[0]
	c.queue[0] = frame{}
	c.queue = c.queue[1:]
	more := 0
	if isData(f.kind) {
		if c.taken += len(f.body); c.taken >= Window/2 {
			more = c.taken
			c.unread -= more
			c.taken = 0
		}
	}
	c.mu.Unlock()
	if more > 0 {
		// Where this fails the connection has ended; the next call says so.
		c.t.Send(More, binary.LittleEndian.AppendUint32(nil, uint32(more)))
	}
	return f.kind, f.body, nil
}

// Send sends a frame. Data of any length is sent in as many frames as it takes,
// waiting for room. It may be called concurrently.
func (c *Conn) Send(kind byte, body []byte) error {
	if !isData(kind) {
		return c.t.Send(kind, body)
	}
	for len(body) > 0 {
		c.mu.Lock()
		for c.room == 0 && c.err == nil {
			c.change.Wait()
		}
		if c.err != nil {
			defer c.mu.Unlock()
			return c.err
		}
		n := min(len(body), c.room, MaxData)
		c.room -= n
		c.mu.Unlock()
		if err := c.t.Send(kind, body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	return nil
}

// SendJSON sends a frame with v in JSON: Size with Resize, Result with End.
func (c *Conn) SendJSON(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "session", "encode: %v", err)
	}
	return c.t.Send(kind, b)
}

// Writer returns what sends all that is written to it as data of kind.
func (c *Conn) Writer(kind byte) io.Writer { return writer{c, kind} }

type writer struct {
	c    *Conn
	kind byte
}

func (w writer) Write(b []byte) (int, error) {
	if err := w.c.Send(w.kind, b); err != nil {
		return 0, err
	}
	return len(b), nil
}
