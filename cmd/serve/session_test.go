package serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/agent"
	member "github.com/drupe-os/drupe/agent/identity"
	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/isolation/fake"
	"github.com/drupe-os/drupe/kernel/dispatch"
	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/kernel/guard"
	"github.com/drupe-os/drupe/kernel/identity"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/session"
)

// oneTask is a kernel with one task, for the first node that comes.
type oneTask struct {
	d       *dispatch.Dispatch
	running chan sdk.NodeID
	mu      sync.Mutex
	node    sdk.NodeID
}

func (k *oneTask) AgentConnected(n sdk.NodeID, _ uint64, _ *sdk.Hello) error {
	k.d.Send(n, &sdk.Desired{Revision: 1, Full: true, Tasks: []sdk.Assignment{{Task: "t.1", Ref: sdk.Ref{Kind: "service", Name: "hello"}, Role: "eng",
		Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "oci:/img"}}, Resources: sdk.R(100, 1<<20)}}}})
	return nil
}

func (k *oneTask) AgentReport(n sdk.NodeID, session uint64, r *sdk.Report) {
	k.d.Ack(n, session, r.Seq)
	for _, st := range r.Statuses {
		if st.State == sdk.Running {
			k.mu.Lock()
			k.node = n
			k.mu.Unlock()
			k.running <- n
		}
	}
}
func (k *oneTask) AgentMachine(sdk.NodeID, uint64, *sdk.MachineUpdate) {}
func (k *oneTask) AgentUsage(sdk.NodeID, uint64, *sdk.UsageReport)     {}
func (k *oneTask) AgentLost(sdk.NodeID, uint64)                        {}

func (k *oneTask) OpenSession(ctx context.Context, id sdk.TaskID, request []byte) (net.Conn, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.d.Open(ctx, k.node, id, request)
}

// anyImage has every image.
type anyImage struct {
	agent.Images
}

func (anyImage) Resolve(context.Context, string) (*image.Image, error) {
	return &image.Image{Digest: "sha256:11", Layers: []string{"/layers/a"}, Config: oci.Config{Entrypoint: []string{"/bin/cat"}}}, nil
}
func (anyImage) Sweep([]sdk.Digest, time.Duration) (int, error) { return 0, nil }

// cat is a task's side that sends its input back.
func cat(_ sdk.TaskID, q *session.Request, rwc io.ReadWriteCloser) {
	c := session.New(session.Stream(rwc), nil)
	defer c.Close()
	for {
		kind, body, err := c.Receive()
		switch {
		case err != nil:
			return
		case kind == session.InEnd:
			c.SendJSON(session.End, session.Result{Code: int32(len(q.Command))})
			<-c.Done() // it is the client who hangs up
			return
		}
		c.Send(session.Out, body)
	}
}

// From the client through the API, the server's and the node's connections, all
// with the certificates of a cluster, to the runtime and back.
func TestSessionFromClientToRuntime(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	authority, err := identity.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := authority.Server("s1", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	agents, api := listen(), listen()
	k := &oneTask{running: make(chan sdk.NodeID, 16)}
	if k.d, err = dispatch.Start(dispatch.Config{Listener: agents, TLS: credentials.Agents(), Node: nodeOf, Kernel: k, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.d.Close() })
	s := &server{authority: authority, agentPort: uint16(agents.Addr().(*net.TCPAddr).Port)}
	g := gate.New(gate.Needs{Sessions: k, Join: joiner{s}, Auth: authority, Guard: guard.New(guard.Standard()...)}, gate.Options{})
	web := gate.NewServer(g, credentials.API())
	go web.Serve(tls.NewListener(api, credentials.API()))
	t.Cleanup(func() { g.Close(); web.Close() })

	join, err := authority.NewJoin(time.Hour, true)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	id, err := member.Join(t.Context(), dir, api.Addr().String(), join)
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Config{Dir: dir, Name: "n1", Runtime: &fake.Runtime{OnOpen: cat}, Images: anyImage{}, TLS: id.TLS(),
		Servers: streams([]string{api.Addr().String()}, id.Port), Machine: sdk.Machine{Address: "127.0.0.1", Capacity: sdk.R(1000, 1<<30)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); a.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)

	token, err := authority.NewPerson("admin", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(api.Addr().String(), string(authority.CA()), token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	select {
	case <-k.running:
	case <-time.After(30 * time.Second):
		t.Fatal("the task does not run")
	}

	open := func() *session.Conn {
		tr, err := c.Session(t.Context(), "t.1", &session.Request{Op: session.Exec, Command: []string{"cat", "-", "-"}, Input: true})
		if err != nil {
			t.Fatal(err)
		}
		conn := session.New(tr, nil)
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	data := bytes.Repeat([]byte("all the way and back "), 1<<16)
	var out bytes.Buffer
	r, err := open().Run(bytes.NewReader(data), &out, nil)
	if err != nil || r.Code != 3 || !bytes.Equal(out.Bytes(), data) {
		t.Fatalf("%+v, %v, %d of %d bytes", r, err, out.Len(), len(data))
	}
	if _, err := c.Session(t.Context(), "t.2", &session.Request{Op: session.Attach}); sdk.KindOf(err) != sdk.NotFound || !strings.Contains(err.Error(), "has no container here") {
		t.Errorf("the node's refusal arrives as %v", err)
	}
	last := open()
	stop()
	select {
	case <-last.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the session outlives its node")
	}
	if _, _, err := last.Receive(); err == nil {
		t.Error("a session with a node that ended went well")
	}
}
