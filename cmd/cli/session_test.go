package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// stage is a task that sessions are held with in memory: play is its side.
type stage struct {
	play   func(q *session.Request, c *session.Conn)
	urgent func(kind byte, body []byte)
	refuse error
	view   sdk.TaskView
}

func (s *stage) Task(context.Context, sdk.TaskID) (sdk.TaskView, error) { return s.view, nil }

func (s *stage) Session(_ context.Context, _ sdk.TaskID, q *session.Request) (session.Transport, error) {
	if s.refuse != nil {
		return nil, s.refuse
	}
	ours, theirs := net.Pipe()
	c := session.New(session.Stream(theirs), s.urgent)
	go func() {
		s.play(q, c)
		<-c.Done()
	}()
	return session.Stream(ours), nil
}

// buffer is what a command prints.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// at returns a place on the stage, and what its commands print.
func at(s *stage, in io.Reader) (p *place, out, errs *buffer) {
	out, errs = &buffer{}, &buffer{}
	return &place{app: &app{in: in, out: out, err: errs, now: time.Now}, c: s, task: "hello.1"}, out, errs
}

// program plays one that prints its input and what it is called, and ends with
// a code.
func program(code int32, fault *sdk.Fault) func(*session.Request, *session.Conn) {
	return func(q *session.Request, c *session.Conn) {
		for q.Input {
			kind, body, err := c.Receive()
			if err != nil || kind == session.InEnd {
				break
			}
			c.Send(session.Out, body)
		}
		c.Send(session.Err, []byte(strings.Join(q.Command, " ")))
		c.Send(session.OutEnd, nil)
		c.SendJSON(session.End, session.Result{Code: code, Error: fault})
	}
}

func TestExecEnds(t *testing.T) {
	missing := sdk.Errorf(sdk.NotFound, "task/hello.1", "has no program %q", "nope")
	for _, c := range []struct {
		name  string
		input bool
		code  int32
		fault *sdk.Fault
		out   string
		errs  string
		exit  int
	}{
		{"well", false, 0, nil, "", "say it", 0},
		{"with input", true, 0, nil, "typed", "say it", 0},
		{"badly", false, 42, nil, "", "say it", 42},
		{"by a signal", false, 137, nil, "", "say it", 137},
		{"not found", false, 127, missing, "", "say iterror: task/hello.1: has no program \"nope\"\n", 127},
	} {
		p, out, errs := at(&stage{play: program(c.code, c.fault)}, strings.NewReader("typed"))
		err := p.exec(t.Context(), &session.Request{Command: []string{"say", "it"}, Input: c.input})
		if exit := p.finish(err); exit != c.exit || out.String() != c.out || errs.String() != c.errs {
			t.Errorf("%s: exit code %d, printed %q and %q", c.name, exit, out, errs)
		}
	}
	p, _, _ := at(&stage{refuse: sdk.Errorf(sdk.Conflict, "task/hello.1", "is not started yet")}, nil)
	if exit := p.finish(p.exec(t.Context(), &session.Request{})); exit != ExitConflict {
		t.Errorf("refused: exit code %d", exit)
	}
	p, _, _ = at(&stage{play: func(_ *session.Request, c *session.Conn) { c.Close() }}, nil)
	if exit := p.finish(p.exec(t.Context(), &session.Request{})); exit != ExitUnreachable {
		t.Errorf("lost: exit code %d", exit)
	}
}

// Signals are the program's; who presses Ctrl-C again and again gets away from
// one that does not heed it.
func TestExecPassesSignalsOn(t *testing.T) {
	got := make(chan syscall.Signal, 8)
	ready := make(chan bool, 1)
	s := &stage{
		urgent: func(kind byte, body []byte) { got <- syscall.Signal(body[0]) },
		play:   func(_ *session.Request, c *session.Conn) { ready <- true },
	}
	p, _, _ := at(s, nil)
	exit := make(chan int, 1)
	go func() { exit <- p.finish(p.exec(t.Context(), &session.Request{})) }()
	<-ready
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGINT} {
		syscall.Kill(syscall.Getpid(), s)
		if passed := <-got; passed != s {
			t.Fatalf("%s became %s", s, passed)
		}
	}
	syscall.Kill(syscall.Getpid(), syscall.SIGINT)
	select {
	case code := <-exit:
		if code != ExitInterrupted {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
}

func TestAttach(t *testing.T) {
	p, out, errs := at(&stage{play: func(_ *session.Request, c *session.Conn) {
		c.Send(session.Out, []byte("out"))
		c.Send(session.Err, []byte("err"))
		c.SendJSON(session.End, session.Result{Code: 3})
	}}, nil)
	err := p.attach(t.Context(), &session.Request{Op: session.Attach})
	if exit := p.finish(err); exit != 3 || out.String() != "out" || errs.String() != "err" {
		t.Errorf("exit code %d, printed %q and %q", exit, out, errs)
	}

	ctx, stop := context.WithCancel(t.Context())
	p, _, errs = at(&stage{play: func(*session.Request, *session.Conn) { stop() }}, nil)
	err = p.attach(ctx, &session.Request{Op: session.Attach})
	if !errors.Is(err, context.Canceled) || !strings.Contains(errs.String(), "hello.1 runs on") {
		t.Errorf("detached: %v, %q", err, errs)
	}
}

func TestChoose(t *testing.T) {
	task := func(id string, created sdk.Time, state sdk.TaskState, health sdk.Health, unreachable bool) sdk.TaskView {
		return sdk.TaskView{Task: sdk.Task{ID: sdk.TaskID(id), Created: created, Unreachable: unreachable,
			Status: sdk.TaskStatus{State: state, Health: health}}}
	}
	for want, tasks := range map[string][]sdk.TaskView{
		"":    {task("a.1", 1, sdk.Starting, sdk.HealthUnknown, false)},
		"a.2": {task("a.1", 1, sdk.Running, sdk.Unhealthy, false), task("a.2", 2, sdk.Running, sdk.Healthy, false)},
		"a.3": {task("a.4", 4, sdk.Running, sdk.Healthy, false), task("a.3", 3, sdk.Running, sdk.Healthy, false)},
		"a.5": {task("a.6", 1, sdk.Running, sdk.Healthy, true), task("a.5", 5, sdk.Running, sdk.Unhealthy, false)},
	} {
		best, n := choose(tasks)
		if got := ""; best != nil {
			got = string(best.ID)
			if got != want || n != len(tasks) {
				t.Errorf("chose %s of %d, want %s", got, n, want)
			}
		} else if want != "" {
			t.Errorf("chose none, want %s", want)
		}
	}
}

// echo plays a port that says back what it hears, and goodbye.
func echo(q *session.Request, c *session.Conn) {
	for {
		kind, body, err := c.Receive()
		switch {
		case err != nil:
			return
		case kind == session.InEnd:
			c.Send(session.Out, []byte("bye"))
			c.Send(session.OutEnd, nil)
			c.SendJSON(session.End, session.Result{})
			return
		}
		c.Send(session.Out, body)
	}
}

func TestPortForward(t *testing.T) {
	s := &stage{view: sdk.TaskView{Task: sdk.Task{Ports: []sdk.PortBinding{{Name: "http", Port: 31001}}}}}
	asked := make(chan uint16, 8)
	s.play = func(q *session.Request, c *session.Conn) {
		asked <- q.Port
		if q.Port == 9 {
			c.SendJSON(session.End, session.Result{Error: sdk.Errorf(sdk.Unavailable, "task/hello.1", "nobody listens on port 9")})
			return
		}
		echo(q, c)
	}
	p, out, errs := at(s, nil)
	p.output = "json"
	f := &forwarder{place: p}
	defer f.close()
	verb := p.portForward()
	verb.SetContext(t.Context())
	for _, arg := range []string{"http", "0:9"} {
		local, port, err := f.parse(verb, arg)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.listen(arg, local, port); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.run(ctx) }()

	refused, err := net.Dial("tcp", f.bound[1].Local)
	if err == nil {
		_, err = io.ReadAll(refused)
		refused.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a refused connection ends with %v", err)
	}
	if port := <-asked; port != 9 {
		t.Errorf("asked for port %d", port)
	}
	conn, err := net.Dial("tcp", f.bound[0].Local)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text := strings.Repeat("much ", 200_000)
	go func() {
		io.WriteString(conn, text)
		conn.(*net.TCPConn).CloseWrite()
	}()
	if b, err := io.ReadAll(conn); err != nil || string(b) != text+"bye" {
		t.Errorf("%d bytes came back, %v", len(b), err)
	}
	if port := <-asked; port != 31001 {
		t.Errorf("asked for port %d", port)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", f.bound[0].Local); err == nil {
		t.Error("it listens still")
	}
	var bound boundPort
	if err := json.NewDecoder(strings.NewReader(out.String())).Decode(&bound); err != nil || bound.Local != f.bound[0].Local || bound.Port != 31001 {
		t.Errorf("it said %s", out)
	}
	if !strings.Contains(errs.String(), "nobody listens on port 9") {
		t.Errorf("it told %q", errs)
	}
}

func TestPortsAreRead(t *testing.T) {
	p, _, _ := at(&stage{view: sdk.TaskView{Task: sdk.Task{Ports: []sdk.PortBinding{{Name: "http", Port: 31001}}}}}, nil)
	verb := p.portForward()
	verb.SetContext(t.Context())
	for arg, want := range map[string][3]uint16{
		"80": {80, 80}, "0:80": {0, 80}, "8080:80": {8080, 80}, "http": {0, 31001}, "1:http": {1, 31001},
		"": {0, 0, 3}, "0": {0, 0, 2}, "80:": {0, 0, 3}, ":80": {0, 0, 2}, "65536": {0, 0, 2}, "x:80": {0, 0, 2}, "80:ftp": {0, 0, 3}, "1:2:3": {0, 0, 3},
	} {
		local, port, err := (&forwarder{place: p}).parse(verb, arg)
		if got := [3]uint16{local, port, uint16(codeOf(err))}; got != want {
			t.Errorf("%q: %v, want %v (%v)", arg, got, want, err)
		}
	}
}
