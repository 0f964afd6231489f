package agent

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/fake"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/wire"
)

// certificates makes an authority and a pair of configurations that trust it.
func certificates(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	issue := func(name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (tls.Certificate, *x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
		if parent == nil {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
			parent, signer = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		c, err = x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, c, key
	}
	_, ca, key := issue("ca", nil, nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	sc, _, _ := issue("server", ca, key)
	cc, _, _ := issue("n1", ca, key)
	return &tls.Config{Certificates: []tls.Certificate{sc}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert},
		&tls.Config{Certificates: []tls.Certificate{cc}, RootCAs: pool}
}

// images answers from a script instead of a disk.
type images struct {
	mu      sync.Mutex
	resolve func(ctx context.Context, ref string) (*image.Image, error)
	count   int
}

func (i *images) Resolve(ctx context.Context, ref string) (*image.Image, error) {
	i.mu.Lock()
	i.count++
	f := i.resolve
	i.mu.Unlock()
	if f != nil {
		return f(ctx, ref)
	}
	return &image.Image{Digest: "sha256:11", Layers: []string{"/layers/a"},
		Config: oci.Config{Entrypoint: []string{"/bin/hello"}, Env: []string{"A=1"}, StopSignal: "SIGTERM"}}, nil
}

func (i *images) ResolveModule(ctx context.Context, ref string) (string, sdk.Digest, error) {
	img, err := i.Resolve(ctx, ref)
	if err != nil {
		return "", "", err
	}
	return "/module.wasm", img.Digest, nil
}

func (i *images) Relieve(_ []sdk.Digest, enough func() bool) (int, error) {
	enough()
	return 0, nil
}

func (i *images) Sweep([]sdk.Digest, time.Duration) (int, error) { return 0, nil }

// rig is one agent with a scripted server, over TLS on loopback.
type rig struct {
	t       *testing.T
	dir     string
	runtime *fake.Runtime
	images  *images
	client  *tls.Config
	listen  net.Listener
	agent   *Agent
	stop    func() // ends the agent in order
	halt    func() // ends it, whatever it says

	killed   bool
	sample   time.Duration // 0: hardly ever
	sessions chan *session
	srv      *session
}

// session is the server's end.
type session struct {
	conn  net.Conn
	hello sdk.Hello
	news  chan sdk.TaskStatus
	logs  chan sdk.LogChunk
	usage chan sdk.UsageReport
	said  map[sdk.TaskID][]sdk.TaskStatus
	rev   uint64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	server, client := certificates(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &rig{t: t, dir: t.TempDir(), runtime: &fake.Runtime{Now: now}, images: &images{}, client: client, listen: l,
		sessions: make(chan *session, 16)}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(c)
		}
	}()
	t.Cleanup(func() {
		if r.stop != nil {
			r.stop()
		}
	})
	return r
}

// serve reads one agent's stream, acknowledging all reports.
func (r *rig) serve(c net.Conn) {
	s := &session{conn: c, news: make(chan sdk.TaskStatus, 1024), logs: make(chan sdk.LogChunk, 64), usage: make(chan sdk.UsageReport, 1024), said: map[sdk.TaskID][]sdk.TaskStatus{}}
	defer c.Close()
	var buf []byte
	for {
		kind, body, err := wire.Read(c, &buf)
		if err != nil {
			return
		}
		switch kind {
		case wire.FrameHello:
			if wire.Decode(body, &s.hello) != nil {
				return
			}
			r.sessions <- s
		case wire.FrameReport:
			var rep sdk.Report
			if wire.Decode(body, &rep) != nil {
				return
			}
			for _, st := range rep.Statuses {
				s.news <- st
			}
			wire.Write(c, wire.FrameReportAck, &sdk.ReportAck{Seq: rep.Seq})
		case wire.FrameLogChunk:
			var ch sdk.LogChunk
			if wire.Decode(body, &ch) != nil {
				return
			}
			s.logs <- ch
		case wire.FrameUsage:
			var u sdk.UsageReport
			if wire.Decode(body, &u) != nil {
				return
			}
			s.usage <- u
		}
	}
}

// start starts the agent, as after a boot or a crash, and waits for its Hello.
func (r *rig) start() *session {
	r.t.Helper()
	a, err := New(Config{Dir: r.dir, Name: "n1", Runtime: r.runtime, Images: r.images, TLS: r.client,
		Servers: []string{r.listen.Addr().String()}, Boot: "boot-1", Sample: cmp.Or(r.sample, time.Hour),
		Machine: sdk.Machine{Hostname: "h", Address: "127.0.0.1", Capacity: sdk.R(4000, 8<<30)},
		Log:     slog.New(slog.NewTextHandler(testLog{r.t}, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
	r.agent = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	var ended error
	r.halt = func() {
		once.Do(func() {
			cancel()
			ended = <-done
		})
	}
	r.stop = func() {
		r.halt()
		if ended != nil && !r.killed {
			r.t.Errorf("agent: %v", ended)
		}
	}
	r.killed = false
	return r.session()
}

func (r *rig) session() *session {
	r.t.Helper()
	select {
	case r.srv = <-r.sessions:
		return r.srv
	case <-time.After(20 * time.Second):
		r.t.Fatal("no session")
		return nil
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) { return len(b), nil }

func (r *rig) desire(full bool, tasks ...sdk.Assignment) {
	r.send(sdk.Desired{Full: full, Tasks: tasks})
}

func (r *rig) send(d sdk.Desired) {
	r.t.Helper()
	r.srv.rev++
	d.Revision = r.srv.rev
	if err := wire.Write(r.srv.conn, wire.FrameDesired, &d); err != nil {
		r.t.Fatal(err)
	}
}

// until waits for the task to be reported in that state. States that a task
// only passes through may be replaced by later ones before they are sent.
func (r *rig) until(id sdk.TaskID, want sdk.TaskState) sdk.TaskStatus {
	r.t.Helper()
	passing := want == sdk.Starting || want == sdk.Killing
	return r.wait(id, func(st sdk.TaskStatus) bool { return st.State == want || passing && st.State > want })
}

func (r *rig) wait(id sdk.TaskID, ok func(sdk.TaskStatus) bool) sdk.TaskStatus {
	r.t.Helper()
	for _, st := range r.srv.said[id] {
		if ok(st) {
			return st
		}
	}
	limit := time.After(20 * time.Second)
	for {
		select {
		case st := <-r.srv.news:
			if old := r.srv.said[st.Task]; len(old) > 0 && st.State < old[len(old)-1].State {
				r.t.Fatalf("%s went back from %v to %v", st.Task, old[len(old)-1].State, st.State)
			}
			r.srv.said[st.Task] = append(r.srv.said[st.Task], st)
			if st.Task == id && ok(st) {
				return st
			}
		case <-limit:
			r.t.Fatalf("%s: waited in vain; said %+v; calls %v", id, r.srv.said[id], r.runtime.Calls())
		}
	}
}

// eventually waits for ok, which the loop brings about.
func (r *rig) eventually(what string, ok func() bool) {
	r.t.Helper()
	limit := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(limit) {
			r.t.Fatalf("%s: waited in vain; calls %v", what, r.runtime.Calls())
		}
		// Each round trip through the loop lets it do a little more.
		answer := make(chan struct{})
		r.agent.post(func() { close(answer) })
		<-answer
		time.Sleep(time.Millisecond)
	}
}

func assignment(id sdk.TaskID, change ...func(*sdk.Assignment)) sdk.Assignment {
	as := sdk.Assignment{Task: id, Ref: sdk.Ref{Kind: "service", Name: "hello"}, Role: "eng",
		Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "oci:/img:v1"}}, Resources: sdk.R(500, 64<<20)}}
	for _, c := range change {
		c(&as)
	}
	return as
}

func stopOf(id sdk.TaskID, grace sdk.Duration) sdk.Assignment {
	return sdk.Assignment{Task: id, Goal: sdk.GoalStop, Grace: grace, Reason: sdk.ReasonKilledByUser}
}

var _ isolation.Runtime = (*fake.Runtime)(nil)
