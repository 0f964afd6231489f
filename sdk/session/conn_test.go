package session_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// pair returns both ends of a session.
func pair(t *testing.T, urgent func(byte, []byte)) (client, task *session.Conn) {
	a, b := net.Pipe()
	client, task = session.New(session.Stream(a), nil), session.New(session.Stream(b), urgent)
	t.Cleanup(func() {
		client.Close()
		task.Close()
		<-client.Done()
		<-task.Done()
	})
	return client, task
}

// echo is a task that sends back what it gets.
func echo(task *session.Conn) {
	for {
		kind, body, err := task.Receive()
		switch {
		case err != nil:
			return
		case kind == session.InEnd:
			task.Send(session.OutEnd, nil)
			task.SendJSON(session.End, session.Result{Code: 7})
			return
		}
		task.Send(session.Out, body)
	}
}

func TestBothWays(t *testing.T) {
	client, task := pair(t, nil)
	go echo(task)
	data := make([]byte, 5<<20+3)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	sum := sha256.New()
	r, err := client.Run(bytes.NewReader(data), sum, nil)
	if err != nil || r.Code != 7 || r.Error != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("what came back differs")
	}
}

// Input that nobody reads holds up neither signals nor the end.
func TestStalledReader(t *testing.T) {
	signals := make(chan byte, 1)
	client, task := pair(t, func(kind byte, body []byte) {
		if kind == session.Signal {
			signals <- body[0]
		}
	})
	sent := make(chan error, 1)
	go func() { sent <- client.Send(session.In, make([]byte, 2*session.Window)) }()
	if kind, _, err := task.Receive(); kind != session.In || err != nil {
		t.Fatal(kind, err)
	}
	if err := client.Send(session.Signal, []byte{15}); err != nil {
		t.Fatal(err)
	}
	if s := <-signals; s != 15 {
		t.Errorf("signal %d", s)
	}
	client.Close()
	select {
	case <-task.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("a client that has gone is not noticed")
	}
	if err := <-sent; err == nil {
		t.Error("all was sent, though there was no room")
	}
}

// A side that sends more than there is room for, or what makes no sense, is cut
// off before it can fill memory.
func TestGreed(t *testing.T) {
	for name, send := range map[string]func(session.Transport) error{
		"data": func(c session.Transport) error { return c.Send(session.In, make([]byte, session.MaxData)) },
		"one large frame": func(c session.Transport) error {
			return c.Send(session.In, make([]byte, session.MaxData+1))
		},
		"marks": func(c session.Transport) error { return c.Send(session.InEnd, nil) },
		"room":  func(c session.Transport) error { return c.Send(session.More, []byte{1, 0, 0, 0}) },
	} {
		a, b := net.Pipe()
		greedy, task := session.Stream(a), session.New(session.Stream(b), nil)
		var err error
		for i := 0; err == nil; i++ {
			if err = send(greedy); i > 1000 {
				t.Errorf("%s: still not cut off", name)
				break
			}
		}
		greedy.Close()
		<-task.Done()
		for err = nil; err == nil; {
			_, _, err = task.Receive()
		}
		if k := sdk.KindOf(err); k != sdk.TooLarge && k != sdk.Corrupt {
			t.Errorf("%s: ended with %v", name, err)
		}
	}
}

func TestLost(t *testing.T) {
	client, task := pair(t, nil)
	task.Send(session.Out, []byte("x"))
	task.Close()
	var out bytes.Buffer
	if _, err := client.Run(nil, &out, nil); sdk.KindOf(err) != sdk.Unavailable {
		t.Errorf("%v", err)
	}
	if out.String() != "x" {
		t.Errorf("%q", out.String())
	}
}

func TestWriterFails(t *testing.T) {
	client, task := pair(t, nil)
	task.Send(session.Out, []byte("x"))
	broken := errors.New("broken")
	if _, err := client.Run(nil, failing{broken}, nil); err != broken {
		t.Errorf("%v", err)
	}
	<-task.Done()
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

var _ io.Writer = failing{}
