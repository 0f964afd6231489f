package gate_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
	"github.com/drupe-os/drupe/sdk/session"
)

// tasks opens sessions whose other end is handed to the test.
type tasks struct {
	far chan net.Conn
}

func (s tasks) OpenSession(_ context.Context, id sdk.TaskID, request []byte) (net.Conn, error) {
	switch id {
	case "unknown":
		return nil, sdk.Errorf(sdk.NotFound, "task/unknown", "there is no such task").Because("%s", strings.Repeat("long ", 500))
	case "ended":
		return nil, sdk.Errorf(sdk.Conflict, "task/ended", "it has ended")
	}
	near, far := net.Pipe()
	s.far <- far
	return near, nil
}

// sessions serves a gate with sessions.
func sessions(t *testing.T, o gate.Options) (c *client.Client, g *gate.Gate, url string, far chan net.Conn) {
	t.Helper()
	far = make(chan net.Conn, 1)
	k := &kernel{}
	g = gate.New(gate.Needs{Documents: k, Tasks: k, Sessions: tasks{far}, Cluster: k, Plugins: k, Events: k, Join: k,
		Auth: people{}, Guard: people{}, Checker: checker{}, Ready: func() error { return nil }}, o)
	s := httptest.NewUnstartedServer(nil)
	s.Config = gate.NewServer(g, nil)
	s.Start()
	t.Cleanup(func() { g.Close(); s.Close() })
	c, err := client.New(s.URL, "", "a")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, g, s.URL, far
}

// log is a server's log that tests may read while it is written.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func open(t *testing.T, c *client.Client, far chan net.Conn) (*session.Conn, *session.Conn) {
	t.Helper()
	tr, err := c.Session(t.Context(), "t.1", &session.Request{Op: session.Exec, Command: []string{"cat", "-"}, Input: true})
	if err != nil {
		t.Fatal(err)
	}
	near, task := session.New(tr, nil), session.New(session.Stream(<-far), nil)
	t.Cleanup(func() { near.Close(); task.Close() })
	return near, task
}

func ended(t *testing.T, c *session.Conn) {
	t.Helper()
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("one side is gone and the other is not told")
	}
}

func TestSessionCarriesBothWays(t *testing.T) {
	var l log
	c, _, _, far := sessions(t, gate.Options{Log: slog.New(slog.NewTextHandler(&l, nil))})
	near, task := open(t, c, far)
	go func() {
		for {
			kind, body, err := task.Receive()
			if err != nil {
				return
			}
			if kind == session.InEnd {
				task.SendJSON(session.End, session.Result{Code: 7})
				return
			}
			task.Send(session.Out, body)
		}
	}()
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	var out bytes.Buffer
	r, err := near.Run(bytes.NewReader(data), &out, nil)
	if err != nil || r.Code != 7 || !bytes.Equal(out.Bytes(), data) {
		t.Fatalf("%+v, %v, %d bytes", r, err, out.Len())
	}
	ended(t, task)
	for _, want := range []string{"session begins", "op=exec", "program=cat", "who=alice"} {
		if !strings.Contains(l.String(), want) {
			t.Errorf("the log lacks %q: %s", want, &l)
		}
	}
}

// Whoever goes, the other side hears of it, and nothing is left behind.
func TestSessionEnds(t *testing.T) {
	for name, end := range map[string]func(near, task *session.Conn, g *gate.Gate){
		"client": func(near, _ *session.Conn, _ *gate.Gate) { near.Close() },
		"task":   func(_, task *session.Conn, _ *gate.Gate) { task.Close() },
		"server": func(_, _ *session.Conn, g *gate.Gate) { g.Close() },
		"greedy client": func(near, _ *session.Conn, _ *gate.Gate) {
			near.Send(session.Resize, make([]byte, 1+session.MaxData))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, g, _, far := sessions(t, gate.Options{})
			near, task := open(t, c, far)
			task.Send(session.Started, nil)
			if kind, _, err := near.Receive(); kind != session.Started || err != nil {
				t.Fatal(kind, err)
			}
			end(near, task, g)
			ended(t, near)
			ended(t, task)
			_, _, err := near.Receive()
			if name == "task" && err != io.EOF {
				t.Errorf("the client is told %v, not that it is over", err)
			}
			if name == "server" && (sdk.KindOf(err) != sdk.Unavailable || !strings.Contains(err.Error(), "the server ends")) {
				t.Errorf("the client is told %v", err)
			}
		})
	}
}

// A client that is there but does not answer is found out by pings.
func TestSilentClient(t *testing.T) {
	_, _, url, far := sessions(t, gate.Options{Heartbeat: 20 * time.Millisecond})
	ws, _, err := websocket.Dial(t.Context(), url+"/v1/tasks/t.1/session?request=e30", &websocket.DialOptions{
		HTTPHeader: map[string][]string{"Authorization": {"Bearer a"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	// Nobody reads here, so nobody answers pings.
	task := session.New(session.Stream(<-far), nil)
	ended(t, task)
}

func TestSessionRefused(t *testing.T) {
	c, _, url, far := sessions(t, gate.Options{})
	for id, want := range map[sdk.TaskID]sdk.FaultKind{"unknown": sdk.NotFound, "ended": sdk.Conflict, "secret": sdk.Denied} {
		_, err := c.Session(t.Context(), id, &session.Request{Op: session.Attach})
		if sdk.KindOf(err) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := c.Session(t.Context(), "t.1", &session.Request{Op: session.Exec, Command: []string{strings.Repeat("x", 20<<10)}}); sdk.KindOf(err) != sdk.TooLarge {
		t.Errorf("a long command: %v", err)
	}
	resp, body := do(t, "GET", url+"/v1/tasks/t.1/session?request=e30", "a", "", "")
	if resp.StatusCode != 426 || resp.Header.Get("Upgrade") != "websocket" || !strings.Contains(body, "WebSocket client") {
		t.Errorf("a plain request: %d %s", resp.StatusCode, body)
	}
	for request, want := range map[string]int{"e30=": 400, "": 400, "eyJ4IjoxfQ": 400} { // the last is {"x":1}
		_, resp, err := websocket.Dial(t.Context(), url+"/v1/tasks/t.1/session?request="+request, &websocket.DialOptions{
			HTTPHeader: map[string][]string{"Authorization": {"Bearer a"}}})
		if err == nil || resp.StatusCode != want {
			t.Errorf("request %q: %v", request, err)
		}
	}
	select {
	case <-far:
		t.Error("a session was opened all the same")
	default:
	}
}
