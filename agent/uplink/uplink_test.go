package uplink

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
	"github.com/drupe-os/drupe/sdk/wire"
)

// server is the other end of in-memory streams, driven by the test.
type server struct {
	t     *testing.T
	conns chan net.Conn
}

func newServer(t *testing.T) *server { return &server{t, make(chan net.Conn, 8)} }

func (s *server) dial(ctx context.Context, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	s.conns <- b
	return a, nil
}

type peer struct {
	t    *testing.T
	conn net.Conn
	buf  []byte
}

func (s *server) accept() *peer {
	s.t.Helper()
	select {
	case c := <-s.conns:
		return &peer{t: s.t, conn: c}
	case <-time.After(time.Minute):
		s.t.Fatal("nobody dialled")
		return nil
	}
}

// next returns the next frame that is no heartbeat.
func (p *peer) next() (byte, []byte) {
	p.t.Helper()
	for {
		kind, body, err := wire.Read(p.conn, &p.buf)
		if err != nil {
			p.t.Fatal(err)
		}
		if kind != wire.FrameHeartbeat {
			return kind, body
		}
	}
}

func (p *peer) hello() sdk.Hello {
	p.t.Helper()
	kind, body := p.next()
	var h sdk.Hello
	if err := wire.Decode(body, &h); kind != wire.FrameHello || err != nil {
		p.t.Fatalf("frame %d, %v", kind, err)
	}
	return h
}

func (p *peer) report() sdk.Report {
	p.t.Helper()
	kind, body := p.next()
	var r sdk.Report
	if err := wire.Decode(body, &r); kind != wire.FrameReport || err != nil {
		p.t.Fatalf("frame %d, %v", kind, err)
	}
	return r
}

func (p *peer) send(kind byte, m wire.Marshaler) {
	p.t.Helper()
	if err := wire.Write(p.conn, kind, m); err != nil {
		p.t.Fatal(err)
	}
}

func status(id string, s sdk.TaskState) sdk.TaskStatus {
	return sdk.TaskStatus{Task: sdk.TaskID(id), State: s}
}

// start runs a client in the bubble and ends it with the test.
func start(t *testing.T, s *server, cfg Config) *Client {
	cfg.Servers, cfg.Dial = []string{"a:1", "b:1"}, s.dial
	if cfg.Hello == nil {
		cfg.Hello = func(context.Context) (*sdk.Hello, error) {
			return &sdk.Hello{Protocol: sdk.AgentProtocol, Name: "n1"}, nil
		}
	}
	if cfg.Desired == nil {
		cfg.Desired = func(context.Context, *sdk.Desired) {}
	}
	c := New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		for len(s.conns) > 0 {
			(<-s.conns).Close()
		}
	})
	return c
}

func TestReportsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := start(t, s, Config{})
		p := s.accept()
		if h := p.hello(); h.Name != "n1" {
			t.Fatalf("%+v", h)
		}
		c.Report(status("a", sdk.Starting))
		c.Report(status("b", sdk.Starting))
		c.Report(status("a", sdk.Running))
		r := p.report()
		if r.Seq != 1 || !slices.Equal(r.Statuses, []sdk.TaskStatus{status("a", sdk.Running), status("b", sdk.Starting)}) {
			t.Fatalf("%+v", r)
		}
		c.Report(status("b", sdk.Running))
		if r := p.report(); r.Seq != 2 || len(r.Statuses) != 1 {
			t.Fatalf("%+v", r)
		}
	})
}

// TestWindow: a server that commits slowly is not flooded; what waits is
// replaced by what is newer.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := start(t, s, Config{})
		p := s.accept()
		p.hello()
		for range window {
			c.Report(status("a", sdk.Running))
			p.report()
		}
		c.Report(status("x", sdk.Starting))
		time.Sleep(time.Second)
		c.Report(status("x", sdk.Running))
		p.send(wire.FrameReportAck, &sdk.ReportAck{Seq: 1})
		if r := p.report(); r.Seq != window+1 || !slices.Equal(r.Statuses, []sdk.TaskStatus{status("x", sdk.Running)}) {
			t.Fatalf("%+v", r)
		}
	})
}

// TestSilence: a server that says nothing loses the session after the stated
// time, one that sends heartbeats keeps it.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := start(t, s, Config{})
		p := s.accept()
		p.hello()
		for range 10 {
			p.send(wire.FrameHeartbeat, nothing{})
			go func() { // its own heartbeats must be read, a pipe holds none
				var buf []byte
				wire.Read(p.conn, &buf)
			}()
			time.Sleep(2 * time.Second)
		}
		if !c.Connected() || len(s.conns) != 0 {
			t.Fatal("the session was lost though the server spoke")
		}
		began := time.Now()
		go func() {
			var buf []byte
			for {
				if _, _, err := wire.Read(p.conn, &buf); err != nil {
					return
				}
			}
		}()
		s.accept().hello()
		if after := time.Since(began); after < 3*time.Second || after > 8*time.Second {
			t.Fatalf("lost after %v", after)
		}
	})
}

// TestUsageIsDropped: samples go out while a session has room for them; those
// of a time without one, or while it is stuck, are gone, and nobody waits.
func TestUsageIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		c := start(t, s, Config{})
		sample := func(cpu sdk.Duration) { c.Usage(&sdk.UsageReport{Usages: []sdk.Usage{{Task: "a", CPU: cpu}}}) }
		sample(1)
		p := s.accept()
		p.hello()
		p.send(wire.FrameHeartbeat, nothing{})
		synctest.Wait()
		cpu := func() sdk.Duration {
			t.Helper()
			kind, body := p.next()
			var u sdk.UsageReport
			if err := wire.Decode(body, &u); kind != wire.FrameUsage || err != nil {
				t.Fatal(kind, err)
			}
			return u.Usages[0].CPU
		}
		sample(2)
		if got := cpu(); got != 2 {
			t.Fatalf("sample %d came of a time without a session", got)
		}
		// The writer is stuck with the first of these, the second waits.
		sample(3)
		synctest.Wait()
		sample(4)
		sample(5)
		if a, b := cpu(), cpu(); a != 3 || b != 4 {
			t.Fatal(a, b)
		}
		sample(6)
		if got := cpu(); got != 6 {
			t.Fatal(got)
		}
	})
}

type nothing struct{}

func (nothing) MarshalMsg(b []byte) ([]byte, error) { return b, nil }

// TestReconnect: what was not committed is in the next session's Hello, not
// repeated besides; the wait grows while no server answers.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		var hellos atomic.Int64
		c := start(t, s, Config{Hello: func(context.Context) (*sdk.Hello, error) {
			return &sdk.Hello{Name: fmt.Sprint(hellos.Add(1)), Tasks: []sdk.TaskStatus{status("a", sdk.Running)}}, nil
		}})
		p := s.accept()
		p.hello()
		p.conn.Close()
		c.Report(status("a", sdk.Running))
		p = s.accept()
		if h := p.hello(); h.Name != "2" || len(h.Tasks) != 1 {
			t.Fatalf("%+v", h)
		}
		c.Report(status("b", sdk.Finished))
		if r := p.report(); r.Seq != 1 || len(r.Statuses) != 1 || r.Statuses[0].Task != "b" {
			t.Fatalf("%+v", r)
		}
		var waits []time.Duration
		for range 12 {
			p.conn.Close()
			began := time.Now()
			p = s.accept()
			waits = append(waits, time.Since(began))
		}
		if last := waits[len(waits)-1]; waits[0] > lastWait/4 || last < lastWait/2 || last > lastWait {
			t.Fatalf("waits %v", waits)
		}
		p.conn.Close()
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		start(t, s, Config{})
		p := s.accept()
		p.hello()
		p.conn.Write(wire.AppendFrame(nil, wire.FrameRefused, []byte("unknown certificate")))
		began := time.Now()
		s.accept()
		if wait := time.Since(began); wait < lastWait/2 {
			t.Fatalf("came back after %v", wait)
		}
	})
}

func TestDesiredAndDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		got := make(chan *sdk.Desired, 4)
		start(t, s, Config{Desired: func(_ context.Context, d *sdk.Desired) { got <- d }})
		p := s.accept()
		p.hello()
		p.send(200, nothing{}) // a kind of some later version
		p.send(wire.FrameDesired, &sdk.Desired{Revision: 7, Full: true})
		if d := <-got; d.Revision != 7 || !d.Full {
			t.Fatalf("%+v", d)
		}
		bad := wire.AppendFrame(nil, wire.FrameDesired, []byte{1, 2, 3})
		bad[len(bad)-1] ^= 1
		p.conn.Write(bad)
		s.accept().hello() // a damaged frame ends the session
		if len(got) != 0 {
			t.Fatal("a damaged frame was handed out")
		}
	})
}

func TestLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t)
		ended := make(chan uint64, 64)
		start(t, s, Config{Heartbeat: time.Hour, Silence: time.Hour, Logs: func(ctx context.Context, q sdk.LogRequest, send func([]sdk.LogLine) error) error {
			if err := send([]sdk.LogLine{{Text: []byte(q.Task)}}); err != nil {
				return err
			}
			if q.Follow {
				<-ctx.Done()
				ended <- q.Call
				return ctx.Err()
			}
			return sdk.Errorf(sdk.NotFound, "logs", "no more")
		}})
		p := s.accept()
		p.hello()
		chunk := func() (c sdk.LogChunk) {
			t.Helper()
			kind, body := p.next()
			if err := wire.Decode(body, &c); kind != wire.FrameLogChunk || err != nil {
				t.Fatal(kind, err)
			}
			return c
		}
		p.send(wire.FrameLogRequest, &sdk.LogRequest{Call: 1, Task: "t"})
		if c := chunk(); c.Call != 1 || string(c.Lines[0].Text) != "t" || c.EOF {
			t.Fatalf("%+v", c)
		}
		if c := chunk(); !c.EOF || sdk.KindOf(logfile.UnpackFault(c.Error)) != sdk.NotFound {
			t.Fatalf("%+v", c)
		}
		for i := range uint64(maxLogCalls) {
			p.send(wire.FrameLogRequest, &sdk.LogRequest{Call: 10 + i, Follow: true})
			chunk()
		}
		p.send(wire.FrameLogRequest, &sdk.LogRequest{Call: 99, Follow: true})
		if c := chunk(); c.Call != 99 || !c.EOF || c.Error == "" {
			t.Fatalf("%+v", c)
		}
		p.send(wire.FrameLogRequest, &sdk.LogRequest{Call: 12, Cancel: true})
		if call := <-ended; call != 12 {
			t.Fatalf("call %d ended", call)
		}
		p.conn.Close()
		for range maxLogCalls - 1 {
			<-ended // the end of the session ends them all
		}
	})
}
