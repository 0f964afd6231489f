package uplink

import (
	"bufio"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
	"github.com/drupe-os/drupe/sdk/wire"
)

// session is one stream while it lasts: this goroutine reads, one writes, and
// one per log request reads logs.
type session struct {
	c    *Client
	conn net.Conn
	addr string          // of the server
	life context.Context // of the node, longer than the session's

	heard  atomic.Bool
	seq    uint64        // of the last report sent; the writer's
	acked  atomic.Uint64 // of the last report committed
	chunks chan *sdk.LogChunk

	mu    sync.Mutex
	calls map[uint64]context.CancelFunc
	wg    sync.WaitGroup
}

// run holds the session until it is lost or ctx ends.
func (s *session) run(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer s.conn.Close()
	defer s.wg.Wait()
	defer cancel(nil)
	// A blocked read or write ends when the session does.
	defer context.AfterFunc(ctx, func() { s.conn.Close() })()

	// What waited so far is in the Hello, or newer than it and said again.
	s.c.take()
	select {
	case <-s.c.usage: // of the time of another session
	default:
	}
	hello, err := s.c.cfg.Hello(ctx)
	if err != nil {
		return false, err
	}
	s.wg.Go(func() {
		if err := s.write(ctx, hello); err != nil {
			cancel(err)
		}
	})
	err = s.read(ctx)
	s.c.connected.Store(false)
	if cause := context.Cause(ctx); cause != nil && !errors.As(err, new(*refusedError)) {
		err = cause
	}
	return s.heard.Load(), err
}

// patient extends the deadline with every byte that arrives, so that silence
// ends a session and a long message does not.
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

// read takes frames until the stream ends.
func (s *session) read(ctx context.Context) error {
	in := bufio.NewReaderSize(patient{s.conn, s.c.cfg.Silence}, 64<<10)
	var buf []byte
	for {
		kind, body, err := wire.Read(in, &buf)
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			return sdk.Errorf(sdk.Timeout, "server", "not a word for %v", s.c.cfg.Silence)
		case err != nil:
			return err
		}
		if !s.heard.Swap(true) {
			s.c.connected.Store(true)
			s.c.cfg.Log.Info("session with server", "server", s.addr)
		}
		if err := s.take(ctx, kind, body); err != nil {
			return err
		}
		if cap(buf) > 1<<20 {
			buf = nil
		}
	}
}

// take acts on one frame. Kinds it does not know are passed over, so that a
// newer server may say more.
func (s *session) take(ctx context.Context, kind byte, body []byte) error {
	switch kind {
	case wire.FrameDesired:
		d := &sdk.Desired{}
		if err := wire.Decode(body, d); err != nil {
			return err
		}
		s.c.cfg.Desired(ctx, d)
	case wire.FrameReportAck:
		var a sdk.ReportAck
		if err := wire.Decode(body, &a); err != nil {
			return err
		}
		if a.Seq > s.acked.Load() {
			s.acked.Store(a.Seq)
			s.c.poke()
		}
	case wire.FrameLogRequest:
		var q sdk.LogRequest
		if err := wire.Decode(body, &q); err != nil {
			return err
		}
		s.logs(ctx, q)
	case wire.FrameOpen:
		var q sdk.SessionRequest
		if err := wire.Decode(body, &q); err != nil {
			return err
		}
		s.c.relays.Go(func() { s.c.relay(s.life, s.addr, q) })
	case wire.FrameRefused:
		return &refusedError{string(body)}
	}
	return nil
}

// write says hello, then what changes, then nothing but heartbeats.
func (s *session) write(ctx context.Context, hello *sdk.Hello) error {
	out := bufio.NewWriterSize(s.conn, 64<<10)
	flush := func() error {
		if err := s.conn.SetWriteDeadline(time.Now().Add(s.c.cfg.Silence)); err != nil {
			return err
		}
		return out.Flush()
	}
	put := func(kind byte, m wire.Marshaler) error {
		// A buffer that is full is flushed by the write itself.
		if err := s.conn.SetWriteDeadline(time.Now().Add(s.c.cfg.Silence)); err != nil {
			return err
		}
		return wire.Write(out, kind, m)
	}
	if err := put(wire.FrameHello, hello); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	beat := time.NewTicker(s.c.cfg.Heartbeat)
	defer beat.Stop()
	gather := time.NewTimer(time.Hour)
	defer gather.Stop()
	gathering := false
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-beat.C:
			_, err = out.Write(wire.AppendFrame(nil, wire.FrameHeartbeat, nil))
		case chunk := <-s.chunks:
			err = put(wire.FrameLogChunk, chunk)
		case u := <-s.c.usage:
			err = put(wire.FrameUsage, u)
		case <-s.c.notify:
			// What comes meanwhile goes along; it does not put the rest off.
			if !gathering {
				gathering = true
				gather.Reset(coalesce)
			}
			continue
		case <-gather.C:
			gathering = false
			if s.seq-s.acked.Load() >= window {
				continue // the next acknowledgement wakes us
			}
			statuses, machine := s.c.take()
			if machine != nil {
				err = put(wire.FrameMachine, &sdk.MachineUpdate{Machine: *machine})
			}
			if len(statuses) > 0 && err == nil {
				s.seq++
				err = put(wire.FrameReport, &sdk.Report{Seq: s.seq, Statuses: statuses})
			}
		}
		if err == nil {
			err = flush()
		}
		if err != nil {
			return err
		}
	}
}

// logs starts answering a request, or ends the one it names.
func (s *session) logs(ctx context.Context, q sdk.LogRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if end := s.calls[q.Call]; end != nil || q.Cancel {
		if q.Cancel && end != nil {
			end()
		}
		return
	}
	cctx, end := context.WithCancel(ctx)
	send := func(c *sdk.LogChunk) error {
		c.Call = q.Call
		select {
		case s.chunks <- c:
			return nil
		case <-cctx.Done():
			return cctx.Err()
		}
	}
	full := len(s.calls) >= maxLogCalls
	s.calls[q.Call] = end
	s.wg.Go(func() {
		defer func() {
			s.mu.Lock()
			delete(s.calls, q.Call)
			s.mu.Unlock()
			end()
		}()
		var err error
		if full {
			err = sdk.Errorf(sdk.Exhausted, "logs", "this node reads %d logs already", maxLogCalls).ToFix("end one of them and try again")
		} else {
			err = s.c.cfg.Logs(cctx, q, func(lines []sdk.LogLine) error { return send(&sdk.LogChunk{Lines: lines}) })
		}
		last := &sdk.LogChunk{EOF: true}
		if err != nil {
			last.Error = logfile.PackFault(err)
		}
		// Nobody waits for the end of a call that was cancelled.
		_ = send(last)
	})
}
