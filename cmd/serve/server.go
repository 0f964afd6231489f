package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/cmd/cli"
	"github.com/drupe-os/drupe/cue/worker"
	"github.com/drupe-os/drupe/kernel"
	"github.com/drupe-os/drupe/kernel/dispatch"
	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/kernel/gossip"
	"github.com/drupe-os/drupe/kernel/guard"
	"github.com/drupe-os/drupe/kernel/host"
	"github.com/drupe-os/drupe/kernel/identity"
	"github.com/drupe-os/drupe/kernel/registry"
	"github.com/drupe-os/drupe/kernel/replica"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

// clusterName is what a cluster is called until people can choose.
const clusterName = "drupe"

// serverConfig is what one server is made of.
type serverConfig struct {
	Data, Listen, Agents, Name string
	Cache                      string
	Plugins                    []string // more module files
	Log                        *slog.Logger
}

// server is one running server.
type server struct {
	cfg       serverConfig
	authority *identity.Authority
	kernel    *kernel.Kernel
	store     *kernel.Store
	dispatch  *dispatch.Dispatch
	gossip    *gossip.Gossip
	pool      *worker.Pool
	http      *http.Server
	images    *registry.Registry
	sweeping  sync.WaitGroup
	swept     chan struct{}
	address   string // of the API
	agentPort uint16
}

// startServer opens the data folder and serves. It returns when the server
// leads and answers.
func startServer(ctx context.Context, cfg serverConfig) (_ *server, err error) {
	s := &server{cfg: cfg}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, cfg.Data, "the data folder cannot be made: %w", err)
	}
	if s.authority, err = identity.Open(filepath.Join(cfg.Data, "identity"), clusterName); err != nil {
		return nil, err
	}
	api, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, taken(cfg.Listen, err)
	}
	defer func() {
		if s.http == nil {
			api.Close()
		}
	}()
	agents, err := net.Listen("tcp", cfg.Agents)
	if err != nil {
		return nil, taken(cfg.Agents, err)
	}
	s.agentPort = uint16(agents.Addr().(*net.TCPAddr).Port)
	credentials, err := s.authority.Server(cfg.Name, hosts(api.Addr())...)
	if err != nil {
		agents.Close()
		return nil, err
	}
	reach := &reach{}
	if err := s.openKernel(reach); err != nil {
		agents.Close()
		return nil, err
	}
	if s.dispatch, err = dispatch.Start(dispatch.Config{Listener: agents, TLS: credentials.Agents(), Node: nodeOf, Kernel: s.kernel, Logger: cfg.Log}); err != nil {
		return nil, err
	}
	reach.Store(s.dispatch)
	if err := s.startGossip(); err != nil {
		return nil, err
	}
	s.pool = worker.New(worker.Config{})
	if err := s.openRegistry(); err != nil {
		return nil, err
	}
	s.serveAPI(api, credentials)
	s.address = "https://" + reachable(api.Addr())
	return s, s.ready(ctx)
}

// openKernel opens log, state and plugins.
func (s *server) openKernel(agents kernel.Agents) error {
	h, err := host.New(host.Config{CacheDir: s.cfg.Cache, Log: func(p sdk.PluginName, line string) {
		s.cfg.Log.Info(line, "plugin", string(p))
	}})
	if err != nil {
		return err
	}
	if s.store, err = kernel.NewStore(h, filepath.Join(s.cfg.Data, "modules")); err != nil {
		return err
	}
	own, err := builtin()
	if err != nil {
		return err
	}
	more, err := modules(s.cfg.Plugins)
	if err != nil {
		return err
	}
	s.kernel, err = kernel.Open(kernel.Config{
		Replica: replica.Config{Dir: filepath.Join(s.cfg.Data, "log"), ID: s.cfg.Name, Bootstrap: true, Logger: s.cfg.Log},
		Plugins: s.store, Builtin: append(own, more...), DefaultPolicy: "drf",
		Agents: agents, Version: cli.Version, Logger: s.cfg.Log,
	})
	return err
}

// serveAPI serves people.
func (s *server) serveAPI(l net.Listener, c *identity.Credentials) {
	k := s.kernel
	g := gate.New(gate.Needs{
		Documents: k, Tasks: k, Sessions: k, Cluster: k, Plugins: k, Events: k,
		Join: joiner{s}, Auth: s.authority, Guard: guard.New(guard.Standard()...), Checker: s.pool,
		Registry: s.images, Node: nodeOf,
		Ready: k.Ready, Metrics: k.Metrics,
	}, gate.Options{Version: cli.Version, Log: s.cfg.Log})
	s.http = gate.NewServer(g, c.API())
	go func() {
		if err := s.http.Serve(tls.NewListener(l, c.API())); !errors.Is(err, http.ErrServerClosed) {
			s.cfg.Log.Error("the API ended", "error", err)
		}
	}()
}

// startGossip joins the servers' membership. It gives hints, never facts.
func (s *server) startGossip() (err error) {
	s.gossip, err = gossip.Start(gossip.Config{Name: s.cfg.Name, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Key: s.authority.GossipKey(), Logger: s.cfg.Log})
	if err != nil {
		return err
	}
	go func() {
		for h := range s.gossip.Hints() {
			s.cfg.Log.Info("gossip", "server", h.Name, "alive", h.Alive)
		}
	}()
	return nil
}

// ready waits until the server leads.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.kernel.AwaitReady(ctx)
}

// close ends everything that was started. Tasks run on.
func (s *server) close() {
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		s.http.Shutdown(ctx)
		cancel()
		s.http.Close()
	}
	if s.swept != nil {
		close(s.swept)
		s.sweeping.Wait()
	}
	if s.gossip != nil {
		s.gossip.Close()
	}
	if s.kernel != nil {
		s.kernel.Halt()
	}
	if s.dispatch != nil {
		s.dispatch.Close()
	}
	if s.kernel != nil {
		if err := s.kernel.Close(); err != nil {
			s.cfg.Log.Warn("closing", "error", err)
		}
	}
	if s.store != nil {
		s.store.Close(context.Background())
	}
	if s.pool != nil {
		s.pool.Close()
	}
}

// introduce writes a context for the user who runs the server, with a token of
// an administrator, unless there is one that works.
func (s *server) introduce(getenv func(string) string, name string) error {
	folder := client.Folder(getenv)
	if c, err := client.LoadContext(folder, name); err == nil && c.Address == s.address && c.CA == string(s.authority.CA()) {
		if t, err := client.ReadToken(c.TokenFile); err == nil {
			if _, ok := s.authority.Identify(t); ok {
				return nil
			}
		}
	}
	token, err := s.authority.NewPerson("admin", 365*24*time.Hour)
	if err != nil {
		return err
	}
	_, err = client.SaveContext(folder, name, client.Context{Address: s.address, CA: string(s.authority.CA())}, token)
	return err
}

// reach hands what the kernel sends to the dispatcher, which is made after it.
type reach struct {
	atomic.Pointer[dispatch.Dispatch]
}

func (r *reach) Send(n sdk.NodeID, d *sdk.Desired) {
	if to := r.Load(); to != nil {
		to.Send(n, d)
	}
}

func (r *reach) Ack(n sdk.NodeID, session, seq uint64) {
	if to := r.Load(); to != nil {
		to.Ack(n, session, seq)
	}
}

func (r *reach) Logs(ctx context.Context, n sdk.NodeID, q sdk.LogRequest) (<-chan sdk.LogChunk, error) {
	if to := r.Load(); to != nil {
		return to.Logs(ctx, n, q)
	}
	return nil, sdk.Errorf(sdk.Unavailable, "node/"+string(n), "the server is still starting")
}

func (r *reach) Open(ctx context.Context, n sdk.NodeID, t sdk.TaskID, request []byte) (net.Conn, error) {
	if to := r.Load(); to != nil {
		return to.Open(ctx, n, t, request)
	}
	return nil, sdk.Errorf(sdk.Unavailable, "node/"+string(n), "the server is still starting")
}

// joiner tells nodes that join where to connect.
type joiner struct{ s *server }

func (j joiner) Join(ctx context.Context, csr []byte, token string) (sdk.JoinAnswer, error) {
	a, err := j.s.authority.Join(ctx, csr, token)
	a.AgentPort = j.s.agentPort
	return a, err
}

// nodeOf knows a node by its certificate.
func nodeOf(state tls.ConnectionState) (sdk.NodeID, error) {
	n, err := identity.Peer(state)
	return n.Node(), err
}

// taken explains why a listener cannot be had.
func taken(address string, err error) error {
	return sdk.Errorf(sdk.Conflict, address, "cannot listen there: %w", err).
		ToFix("end what uses it, or choose another address with --listen or --agents")
}

// hosts are the names and addresses a server's certificate is for.
func hosts(a net.Addr) []string {
	host, _, _ := net.SplitHostPort(a.String())
	out := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil {
		out = append(out, name)
	}
	if ip := net.ParseIP(host); ip != nil && !ip.IsUnspecified() {
		return append(out, host)
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok {
			out = append(out, ip.IP.String())
		}
	}
	return out
}

// reachable is a listener's address as a client on this machine uses it.
func reachable(a net.Addr) string {
	host, port, _ := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// serverName is a name for this machine's server.
func serverName(given string) string {
	if given != "" {
		return given
	}
	name, _ := os.Hostname()
	name, _, _ = strings.Cut(strings.ToLower(name), ".")
	if !sdk.ValidName(name) {
		return "server"
	}
	return name
}

// Server runs a server until ctx is done. It is cli.RunServer.
func Server(ctx context.Context, o cli.ServerOptions, st cli.Streams) error {
	data, err := filepath.Abs(o.Data)
	if err != nil {
		return err
	}
	cache := st.Getenv("DRUPE_CACHE")
	if cache == "" {
		cache = filepath.Join(data, "cache")
	}
	s, err := startServer(ctx, serverConfig{Data: data, Listen: o.Listen, Agents: o.Agents, Name: serverName(o.Name),
		Cache: cache, Plugins: o.Plugins, Log: logger(st.Err, st.Getenv)})
	if err != nil {
		return err
	}
	defer s.close()
	if o.Context != "" {
		if err := s.introduce(st.Getenv, o.Context); err != nil {
			return err
		}
	}
	join, err := s.authority.NewJoin(24*time.Hour, true)
	if err != nil {
		return err
	}
	tokenFile := filepath.Join(data, "join.token")
	if err := identity.WriteToken(tokenFile, join); err != nil {
		return err
	}
	st.Printf("server %s answers at %s\n", s.cfg.Name, s.address)
	st.Printf("nodes join with: drupe agent --data FOLDER --server %s --join-token %s\n", strings.TrimPrefix(s.address, "https://"), tokenFile)
	debug.FreeOSMemory() // the start took much more than the server needs
	<-ctx.Done()
	return nil
}
