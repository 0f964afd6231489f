package dispatch

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// authority makes certificates for tests.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{pool: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := a.issue(t, "ca")
	a.cert = c.Leaf
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(t testing.TB, name string) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: a.cert == nil,
	}
	key, parent := a.key, a.cert
	if parent == nil {
		parent = tmpl
	} else {
		key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// kernel records what it is told, in one line each.
type kernel struct {
	d      *Dispatch
	refuse error
	lines  chan string
	full   *sdk.Desired // sent when an agent connects
}

func (k *kernel) AgentConnected(node sdk.NodeID, session uint64, h *sdk.Hello) error {
	if k.refuse != nil {
		return k.refuse
	}
	if k.full != nil {
		k.d.Send(node, &sdk.Desired{Revision: 1}) // before the full state: must not arrive
		k.d.Send(node, k.full)
	}
	k.lines <- fmt.Sprintf("connected %s %s", node, h.Name)
	return nil
}

func (k *kernel) AgentReport(node sdk.NodeID, session uint64, r *sdk.Report) {
	k.lines <- fmt.Sprintf("report %s %d", node, r.Seq)
	k.d.Ack(node, session+1, 99) // of a session that is not: must not arrive
	k.d.Ack(node, session, r.Seq)
}

func (k *kernel) AgentUsage(node sdk.NodeID, session uint64, u *sdk.UsageReport) {
	k.lines <- fmt.Sprintf("usage %s %d", node, len(u.Usages))
}

func (k *kernel) AgentMachine(node sdk.NodeID, session uint64, m *sdk.MachineUpdate) {
	k.lines <- fmt.Sprintf("machine %s %s", node, m.Machine.Hostname)
}

func (k *kernel) AgentLost(node sdk.NodeID, session uint64) {
	k.lines <- fmt.Sprintf("lost %s", node)
}

func (k *kernel) expect(t testing.TB, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-k.lines:
			if got != w {
				t.Fatalf("kernel was told %q, want %q", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("kernel was not told %q", w)
		}
	}
}

type server struct {
	*kernel
	*Dispatch
	ca *authority
}

func start(t testing.TB, change func(*Config)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ca := newAuthority(t)
	k := &kernel{lines: make(chan string, 1000), full: &sdk.Desired{Revision: 7, Full: true}}
	cfg := Config{
		Listener: l, Kernel: k, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		TLS: &tls.Config{
			MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool,
			Certificates: []tls.Certificate{ca.issue(t, "server")},
		},
		Node: func(s tls.ConnectionState) (sdk.NodeID, error) {
			name := s.VerifiedChains[0][0].Subject.CommonName
			if !strings.HasPrefix(name, "n") {
				return "", errors.New("no node")
			}
			return sdk.NodeID(name), nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	k.d, err = Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.d.Close() })
	return &server{kernel: k, Dispatch: k.d, ca: ca}
}

// agent is a scripted agent.
type agent struct {
	t    testing.TB
	conn *tls.Conn
	buf  []byte
}

func (s *server) dial(t testing.TB, name string) *agent {
	t.Helper()
	conn, err := tls.Dial("tcp", s.Addr().String(), &tls.Config{
		RootCAs: s.ca.pool, ServerName: "server", Certificates: []tls.Certificate{s.ca.issue(t, name)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.NetConn().Close() })
	return &agent{t: t, conn: conn}
}

func (s *server) join(t testing.TB, name string) *agent {
	t.Helper()
	a := s.dial(t, name)
	a.say(wire.FrameHello, &sdk.Hello{Protocol: sdk.AgentProtocol, Name: "box"})
	s.expect(t, "connected "+name+" box")
	return a
}

func (a *agent) say(kind byte, m wire.Marshaler) {
	a.t.Helper()
	if err := wire.Write(a.conn, kind, m); err != nil {
		a.t.Fatal(err)
	}
}

// hear returns the next frame that is no heartbeat.
func (a *agent) hear(into wire.Unmarshaler) byte {
	a.t.Helper()
	a.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		kind, body, err := wire.Read(a.conn, &a.buf)
		if err != nil {
			a.t.Fatal(err)
		}
		if kind == wire.FrameHeartbeat {
			continue
		}
		if into != nil {
			if err := wire.Decode(body, into); err != nil {
				a.t.Fatalf("kind %d: %v", kind, err)
			}
		}
		return kind
	}
}

func TestSession(t *testing.T) {
	s := start(t, nil)
	a := s.join(t, "n1")
	var d sdk.Desired
	if kind := a.hear(&d); kind != wire.FrameDesired || !d.Full || d.Revision != 7 {
		t.Fatalf("kind %d: %+v", kind, d)
	}
	s.Send("n1", &sdk.Desired{Revision: 8, Forget: []sdk.TaskID{"t.1"}})
	s.Send("n2", &sdk.Desired{Revision: 8})
	if a.hear(&d); d.Full || d.Revision != 8 || len(d.Forget) != 1 {
		t.Fatalf("%+v", d)
	}
	a.say(wire.FrameReport, &sdk.Report{Seq: 1})
	a.say(200, &sdk.ReportAck{}) // a newer agent may say more
	a.say(wire.FrameMachine, &sdk.MachineUpdate{Machine: sdk.Machine{Hostname: "h"}})
	a.say(wire.FrameUsage, &sdk.UsageReport{Usages: []sdk.Usage{{Task: "t.1", CPU: 5}}})
	s.expect(t, "report n1 1", "machine n1 h", "usage n1 1")
	var ack sdk.ReportAck
	if kind := a.hear(&ack); kind != wire.FrameReportAck || ack.Seq != 1 {
		t.Fatalf("kind %d: %+v", kind, ack)
	}
	if s.Sessions() != 1 {
		t.Fatal(s.Sessions())
	}
	a.conn.Close()
	s.expect(t, "lost n1")
	if s.Sessions() != 0 {
		t.Fatal(s.Sessions())
	}
}

func TestNewerSessionReplacesOlder(t *testing.T) {
	s := start(t, nil)
	a := s.join(t, "n1")
	b := s.dial(t, "n1")
	b.say(wire.FrameHello, &sdk.Hello{Protocol: sdk.AgentProtocol, Name: "again"})
	s.expect(t, "lost n1", "connected n1 again")
	// The older one's connection is gone, whatever it says reaches nobody.
	_ = wire.Write(a.conn, wire.FrameReport, &sdk.Report{Seq: 5})
	b.say(wire.FrameReport, &sdk.Report{Seq: 1})
	s.expect(t, "report n1 1")
	if s.Sessions() != 1 {
		t.Fatal(s.Sessions())
	}
}

func TestTurnedAway(t *testing.T) {
	s := start(t, nil)
	for what, c := range map[string]struct {
		kind  byte
		hello sdk.Hello
		want  string
	}{
		"no hello":       {wire.FrameReport, sdk.Hello{}, "not a hello"},
		"other protocol": {wire.FrameHello, sdk.Hello{Protocol: 77}, "protocol 77"},
	} {
		a := s.dial(t, "n1")
		a.say(c.kind, &c.hello)
		kind, body, err := wire.Read(a.conn, &a.buf)
		if err != nil || kind != wire.FrameRefused || !strings.Contains(string(body), c.want) {
			t.Errorf("%s: kind %d %q %v", what, kind, body, err)
		}
	}
	s.refuse = sdk.Errorf(sdk.Denied, "node n1", "it was declared gone").ToFix("join again")
	a := s.dial(t, "n1")
	a.say(wire.FrameHello, &sdk.Hello{Protocol: sdk.AgentProtocol})
	a.say(wire.FrameHeartbeat, &sdk.ReportAck{}) // unread by the server: must not destroy the answer
	kind, body, err := wire.Read(a.conn, &a.buf)
	if err != nil || kind != wire.FrameRefused || string(body) != "node n1: it was declared gone; join again" {
		t.Errorf("kind %d %q %v", kind, body, err)
	}
	// Who is no node, or damages a frame, is dropped without a session.
	for _, name := range []string{"person"} {
		a := s.dial(t, name)
		_ = wire.Write(a.conn, wire.FrameHello, &sdk.Hello{Protocol: sdk.AgentProtocol})
		if _, _, err := wire.Read(a.conn, &a.buf); err == nil {
			t.Errorf("%s got an answer", name)
		}
	}
	s.refuse = nil
	b := s.join(t, "n2")
	b.conn.Write([]byte{1, 0, 0, 0, 1, 2, 3, 4, wire.FrameReport, 9}) // wrong checksum
	s.expect(t, "lost n2")
}

func TestSilenceAndHeartbeats(t *testing.T) {
	s := start(t, func(c *Config) { c.Heartbeat, c.Silence = 40*time.Millisecond, 400*time.Millisecond })
	s.join(t, "n1") // says nothing more
	lively := s.join(t, "n2")
	stop := make(chan struct{})
	go func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				lively.conn.Write(wire.AppendFrame(nil, wire.FrameHeartbeat, nil))
			}
		}
	}()
	defer close(stop)
	s.expect(t, "lost n1")
	beats := 0
	for beats < 10 {
		quietErr := lively.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		kind, _, err := wire.Read(lively.conn, &lively.buf)
		if err != nil || quietErr != nil {
			t.Fatal(err, quietErr)
		}
		if kind == wire.FrameHeartbeat {
			beats++
		}
	}
	if s.Sessions() != 1 {
		t.Fatal("the lively one was lost, too")
	}
}

func TestAgentThatDoesNotRead(t *testing.T) {
	s := start(t, func(c *Config) { c.Queue = 1 << 20 })
	s.join(t, "n1")
	big := &sdk.Desired{Full: true, Forget: make([]sdk.TaskID, 2000)}
	for i := range big.Forget {
		big.Forget[i] = sdk.TaskID(strings.Repeat("x", 100))
	}
	for range 1000 { // 200 MB, more than any socket buffer
		began := time.Now()
		s.Send("n1", big)
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("Send waited %v", took)
		}
		if s.Sessions() == 0 {
			break
		}
	}
	s.expect(t, "lost n1")
}

func TestLogs(t *testing.T) {
	s := start(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if _, err := s.Logs(ctx, "n1", sdk.LogRequest{}); sdk.KindOf(err) != sdk.Unavailable {
		t.Fatal(err)
	}
	a := s.join(t, "n1")
	a.hear(nil)
	one, err := s.Logs(ctx, "n1", sdk.LogRequest{Task: "t.1", Tail: 5})
	if err != nil {
		t.Fatal(err)
	}
	var r1, r2 sdk.LogRequest
	a.hear(&r1)
	two, err := s.Logs(context.Background(), "n1", sdk.LogRequest{Task: "t.2", Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	a.hear(&r2)
	if r1.Task != "t.1" || r1.Tail != 5 || r2.Task != "t.2" || !r2.Follow || r1.Call == r2.Call {
		t.Fatalf("%+v %+v", r1, r2)
	}
	line := func(s string) []sdk.LogLine { return []sdk.LogLine{{Text: []byte(s)}} }
	a.say(wire.FrameLogChunk, &sdk.LogChunk{Call: r2.Call, Lines: line("b")})
	a.say(wire.FrameLogChunk, &sdk.LogChunk{Call: r1.Call, Lines: line("a"), EOF: true})
	a.say(wire.FrameLogChunk, &sdk.LogChunk{Call: 12345, Lines: line("nobody's")})
	if c := <-one; string(c.Lines[0].Text) != "a" || !c.EOF {
		t.Fatalf("%+v", c)
	}
	if _, open := <-one; open {
		t.Fatal("open after its end")
	}
	if c := <-two; string(c.Lines[0].Text) != "b" || c.EOF {
		t.Fatalf("%+v", c)
	}
	// Who goes away ends the call at the node as well.
	three, _ := s.Logs(ctx, "n1", sdk.LogRequest{Task: "t.3"})
	var r3, end sdk.LogRequest
	a.hear(&r3)
	cancel()
	if a.hear(&end); !end.Cancel || end.Call != r3.Call {
		t.Fatalf("%+v", end)
	}
	if _, open := <-three; open {
		t.Fatal("open after its context ended")
	}
	// A lost session ends the calls that are left.
	a.conn.Close()
	if c := <-two; c.Error == "" || !c.EOF {
		t.Fatalf("%+v", c)
	}
	s.expect(t, "lost n1")
}

// A reader that does not keep up loses its call, and delays the node's other
// business by no more than the patience.
func TestSlowLogReader(t *testing.T) {
	s := start(t, nil)
	a := s.join(t, "n1")
	a.hear(nil)
	chunks, _ := s.Logs(context.Background(), "n1", sdk.LogRequest{Follow: true})
	var r, end sdk.LogRequest
	a.hear(&r)
	for range callBuffer + 10 {
		a.say(wire.FrameLogChunk, &sdk.LogChunk{Call: r.Call})
	}
	a.say(wire.FrameReport, &sdk.Report{Seq: 1})
	if a.hear(&end); !end.Cancel {
		t.Fatalf("%+v", end)
	}
	s.expect(t, "report n1 1")
	n := 0
	for range chunks {
		n++
	}
	if n != callBuffer {
		t.Fatal(n)
	}
}

// Many agents at once, with everything going on; for the race detector, and for
// the count of goroutines.
func TestManySessions(t *testing.T) {
	const agents = 60
	s := start(t, func(c *Config) { c.Heartbeat = 20 * time.Millisecond })
	go func() {
		for range s.lines {
		}
	}()
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	all := make([]*agent, agents)
	for i := range agents {
		wg.Go(func() {
			a := s.dial(t, fmt.Sprintf("n%d", i))
			all[i] = a
			a.say(wire.FrameHello, &sdk.Hello{Protocol: sdk.AgentProtocol})
			a.hear(nil)
			for seq := range uint64(20) {
				s.Send(sdk.NodeID(fmt.Sprintf("n%d", i)), &sdk.Desired{Revision: seq})
				a.say(wire.FrameReport, &sdk.Report{Seq: seq})
			}
			for got := 0; got < 20; {
				if a.hear(nil) == wire.FrameReportAck {
					got++
				}
			}
		})
	}
	wg.Wait()
	if s.Sessions() != agents {
		t.Fatalf("%d sessions", s.Sessions())
	}
	if n := runtime.NumGoroutine() - before; n > 2*agents {
		t.Errorf("%d goroutines for %d sessions", n, agents)
	}
	if err := s.Dispatch.Close(); err != nil {
		t.Fatal(err)
	}
	if s.Sessions() != 0 {
		t.Errorf("%d sessions after Close", s.Sessions())
	}
}
