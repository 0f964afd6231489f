package uplink

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// joined answers a request for a session: the connection that the node opened
// for it, after its first frame.
func joined(s *server) (*peer, sdk.SessionHello) {
	s.t.Helper()
	p := s.accept()
	kind, body := p.next()
	var h sdk.SessionHello
	if err := wire.Decode(body, &h); kind != wire.FrameSession || err != nil {
		s.t.Fatalf("frame %d, %v", kind, err)
	}
	return p, h
}

func faultOf(t *testing.T, h sdk.SessionHello) sdk.FaultKind {
	t.Helper()
	var f sdk.Fault
	if err := json.Unmarshal([]byte(h.Error), &f); err != nil {
		t.Fatalf("%q: %v", h.Error, err)
	}
	return f.Kind
}

// Bytes go both ways, and the end of either side is the other's.
func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tasks := make(chan net.Conn, 1)
		s := newServer(t)
		start(t, s, Config{Open: func(_ context.Context, q sdk.SessionRequest) (io.ReadWriteCloser, error) {
			if q.Task != "a" || string(q.Open) != "{}" {
				return nil, sdk.Errorf(sdk.NotFound, "task", "%+v", q)
			}
			near, far := net.Pipe()
			tasks <- far
			return near, nil
		}})
		p := s.accept()
		p.hello()
		end := map[string]func(server, task net.Conn){
			"server": func(server, _ net.Conn) { server.Close() },
			"task":   func(_, task net.Conn) { task.Close() },
		}
		for name, end := range end {
			p.send(wire.FrameOpen, &sdk.SessionRequest{Key: name, Task: "a", Open: []byte("{}")})
			got, h := joined(s)
			if h.Key != name || h.Error != "" {
				t.Fatalf("%+v", h)
			}
			task, buf := <-tasks, make([]byte, 2)
			got.conn.Write([]byte("in"))
			if _, err := io.ReadFull(task, buf); err != nil || string(buf) != "in" {
				t.Fatalf("%q, %v", buf, err)
			}
			task.Write([]byte("ou"))
			if _, err := io.ReadFull(got.conn, buf); err != nil || string(buf) != "ou" {
				t.Fatalf("%q, %v", buf, err)
			}
			end(got.conn, task)
			for _, c := range []net.Conn{got.conn, task} {
				if _, err := c.Read(buf); err == nil {
					t.Errorf("%s ended, the other goes on", name)
				}
			}
		}
		p.send(wire.FrameOpen, &sdk.SessionRequest{Key: "k", Task: "b"})
		got, h := joined(s)
		if k := faultOf(t, h); k != sdk.NotFound {
			t.Errorf("%v", k)
		}
		got.conn.Close()
	})
}

// A node carries so many sessions and no more, each of them longer than the
// stream on which it was asked for, none longer than the node itself.
func TestRelayBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var far []net.Conn
		s := newServer(t)
		c := New(Config{Servers: []string{"a:1"}, Dial: s.dial, Desired: func(context.Context, *sdk.Desired) {},
			Hello: func(context.Context) (*sdk.Hello, error) { return &sdk.Hello{}, nil },
			Open: func(context.Context, sdk.SessionRequest) (io.ReadWriteCloser, error) {
				a, b := net.Pipe()
				far = append(far, b) // one after the other, as they are asked for
				return a, nil
			}})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); c.Run(ctx) }()
		p := s.accept()
		p.hello()
		var sessions []*peer
		ask := func() sdk.SessionHello {
			p.send(wire.FrameOpen, &sdk.SessionRequest{Key: "k", Task: "a"})
			got, h := joined(s)
			sessions = append(sessions, got)
			return h
		}
		for i := range maxSessions {
			if h := ask(); h.Error != "" {
				t.Fatalf("session %d: %s", i, h.Error)
			}
		}
		if k := faultOf(t, ask()); k != sdk.Exhausted {
			t.Errorf("one too many: %v", k)
		}
		sessions[0].conn.Close()
		synctest.Wait()
		if h := ask(); h.Error != "" {
			t.Errorf("one has ended, and still: %s", h.Error)
		}

		p.conn.Close()
		p = s.accept()
		p.hello()
		go far[1].Write([]byte("x"))
		if _, err := sessions[1].conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("ended with the stream: %v", err)
		}
		cancel()
		<-ended
		if _, err := sessions[1].conn.Read(make([]byte, 1)); err == nil {
			t.Error("goes on without its node")
		}
		if _, err := far[1].Read(make([]byte, 1)); err == nil {
			t.Error("goes on without its node")
		}
		for len(s.conns) > 0 {
			(<-s.conns).Close()
		}
	})
}
