package dispatch

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// opened is what Open returned.
type opened struct {
	conn net.Conn
	err  error
}

func (s *server) open(ctx context.Context) chan opened {
	out := make(chan opened, 1)
	go func() {
		c, err := s.Open(ctx, "n1", "t.1", []byte("{}"))
		out <- opened{c, err}
	}()
	return out
}

// asked returns the request for a session that the agent got.
func (a *agent) asked() sdk.SessionRequest {
	a.t.Helper()
	a.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		kind, body, err := wire.Read(a.conn, &a.buf)
		if err != nil {
			a.t.Fatal(err)
		}
		if kind != wire.FrameOpen {
			continue
		}
		var q sdk.SessionRequest
		if err := wire.Decode(body, &q); err != nil {
			a.t.Fatal(err)
		}
		return q
	}
}

func result(t *testing.T, c chan opened) opened {
	t.Helper()
	select {
	case o := <-c:
		return o
	case <-time.After(20 * time.Second):
		t.Fatal("Open does not return")
		return opened{}
	}
}

// hungUp waits until the server closed a connection.
func (a *agent) hungUp() {
	a.t.Helper()
	a.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, a.conn); err != nil {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			a.t.Fatal("the server does not hang up")
		}
	}
}

func TestOpen(t *testing.T) {
	s := start(t, nil)
	a := s.join(t, "n1")
	got := s.open(t.Context())
	q := a.asked()
	if q.Task != "t.1" || string(q.Open) != "{}" || len(q.Key) != 32 {
		t.Fatalf("%+v", q)
	}
	// Neither another node nor a wrong key gets in between.
	thief := s.dial(t, "n2")
	thief.say(wire.FrameSession, &sdk.SessionHello{Key: q.Key})
	thief.hungUp()
	guess := s.dial(t, "n1")
	guess.say(wire.FrameSession, &sdk.SessionHello{Key: "0123"})
	guess.hungUp()

	b := s.dial(t, "n1")
	b.say(wire.FrameSession, &sdk.SessionHello{Key: q.Key})
	o := result(t, got)
	if o.err != nil {
		t.Fatal(o.err)
	}
	b.conn.Write([]byte("up"))
	buf := make([]byte, 2)
	if _, err := io.ReadFull(o.conn, buf); err != nil || string(buf) != "up" {
		t.Fatalf("%q, %v", buf, err)
	}
	o.conn.Write([]byte("dn"))
	if _, err := io.ReadFull(b.conn, buf); err != nil || string(buf) != "dn" {
		t.Fatalf("%q, %v", buf, err)
	}
	again := s.dial(t, "n1")
	again.say(wire.FrameSession, &sdk.SessionHello{Key: q.Key})
	again.hungUp()
	o.conn.Close()
	b.hungUp()
	if s.Sessions() != 1 {
		t.Errorf("%d agents are connected, not the one", s.Sessions())
	}
}

func TestOpenFails(t *testing.T) {
	s := start(t, nil)
	if o := result(t, s.open(t.Context())); sdk.KindOf(o.err) != sdk.Unavailable {
		t.Errorf("without a node: %v", o.err)
	}
	a := s.join(t, "n1")

	got := s.open(t.Context())
	b := s.dial(t, "n1")
	b.say(wire.FrameSession, &sdk.SessionHello{Key: a.asked().Key, Error: `{"kind":"not-found","subject":"task/t.1","message":"has no container here"}`})
	if o := result(t, got); sdk.KindOf(o.err) != sdk.NotFound {
		t.Errorf("the node's own: %v", o.err)
	}
	b.hungUp()

	// A key is worth nothing once its asker has gone.
	ctx, cancel := context.WithCancel(t.Context())
	got = s.open(ctx)
	key := a.asked().Key
	cancel()
	if o := result(t, got); o.err != context.Canceled {
		t.Errorf("given up: %v", o.err)
	}
	b = s.dial(t, "n1")
	b.say(wire.FrameSession, &sdk.SessionHello{Key: key})
	b.hungUp()

	got = s.open(t.Context())
	a.asked()
	a.conn.NetConn().Close()
	if o := result(t, got); sdk.KindOf(o.err) != sdk.Unavailable {
		t.Errorf("the node is lost: %v", o.err)
	}
}

// Close does not wait for who holds a session.
func TestCloseEndsOpen(t *testing.T) {
	s := start(t, nil)
	a := s.join(t, "n1")
	got := s.open(t.Context())
	b := s.dial(t, "n1")
	b.say(wire.FrameSession, &sdk.SessionHello{Key: a.asked().Key})
	o := result(t, got)
	if o.err != nil {
		t.Fatal(o.err)
	}
	s.Close()
	if _, err := o.conn.Read(make([]byte, 1)); err == nil {
		t.Error("the session goes on")
	}
	b.hungUp()
}
