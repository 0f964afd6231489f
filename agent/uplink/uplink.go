// Package uplink is a node's one stream to the servers.
//
// A session opens with a Hello that carries everything the node knows, so
// nothing has to be remembered about what an earlier session managed to say.
// After it only changes travel: reports up, desired state down, heartbeats both
// ways. When the stream breaks or falls silent the next server is tried.
package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Defaults.
const (
	DefaultHeartbeat = 2 * time.Second
	DefaultSilence   = 6 * time.Second
)

// The wait between attempts doubles from the first to the last, each drawn at
// random from its upper half, so that a cluster's agents do not come back all
// at once.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

// coalesce is how long a report waits for others to go with it.
const coalesce = 2 * time.Millisecond

// window is how many reports may be on the way before the servers have
// committed them; more statuses wait and replace each other meanwhile.
const window = 64

// maxLogCalls bounds how many logs are read for the servers at a time.
const maxLogCalls = 32

// Config is what a Client needs. Servers, Hello and Desired must be set, and
// one of TLS and Dial.
type Config struct {
	// Servers are addresses, host:port, in any order.
	Servers []string
	// TLS holds the node's certificate and the cluster's authority. The
	// server's name is taken from its address unless ServerName is set.
	TLS *tls.Config
	// Dial opens a stream instead of TCP with TLS.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Hello returns all the node knows, now.
	Hello func(ctx context.Context) (*sdk.Hello, error)
	// Desired takes what the servers want, in order. It owns its argument.
	Desired func(ctx context.Context, d *sdk.Desired)
	// Logs answers one request: lines through send until it returns. Nil: there
	// are none. It must end soon after ctx does.
	Logs func(ctx context.Context, q sdk.LogRequest, send func([]sdk.LogLine) error) error
	// Open opens a session with a task; ctx ends only the opening. What it
	// returns carries frames of sdk/session. Nil: there are no sessions.
	Open func(ctx context.Context, q sdk.SessionRequest) (io.ReadWriteCloser, error)
	// Log tells of connects and losses; nil: silent.
	Log *slog.Logger
	// Heartbeat and Silence are the time between heartbeats and the time without
	// a word from the server after which the session is lost. 0: the defaults.
	Heartbeat, Silence time.Duration
}

// Client keeps a session with some server for as long as Run runs.
type Client struct {
	cfg       Config
	connected atomic.Bool
	notify    chan struct{} // there is something to report
	sessions  atomic.Int64  // open with tasks
	relays    sync.WaitGroup
	usage     chan *sdk.UsageReport

	mu      sync.Mutex
	pending map[sdk.TaskID]int // place in order
	order   []sdk.TaskStatus
	machine *sdk.Machine
}

// New returns a client; Run makes it work.
func New(cfg Config) *Client {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.Silence <= 0 {
		cfg.Silence = DefaultSilence
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Logs == nil {
		cfg.Logs = func(context.Context, sdk.LogRequest, func([]sdk.LogLine) error) error {
			return sdk.Errorf(sdk.Unsupported, "logs", "this node keeps none")
		}
	}
	if cfg.Open == nil {
		cfg.Open = func(_ context.Context, q sdk.SessionRequest) (io.ReadWriteCloser, error) {
			return nil, sdk.Errorf(sdk.Unsupported, "task/"+string(q.Task), "this node opens no sessions with tasks")
		}
	}
	return &Client{cfg: cfg, notify: make(chan struct{}, 1), usage: make(chan *sdk.UsageReport, 1), pending: map[sdk.TaskID]int{}}
}

// Connected reports whether there is a session.
func (c *Client) Connected() bool { return c.connected.Load() }

// Report sends a changed status as soon as there is a session. A newer status
// of a task replaces one that has not been sent. It never blocks.
func (c *Client) Report(st sdk.TaskStatus) {
	c.mu.Lock()
	if i, ok := c.pending[st.Task]; ok {
		c.order[i] = st
	} else {
		c.pending[st.Task] = len(c.order)
		c.order = append(c.order, st)
	}
	c.mu.Unlock()
	c.poke()
}

// UpdateMachine tells the servers that the machine is another now. It never
// blocks.
func (c *Client) UpdateMachine(m sdk.Machine) {
	c.mu.Lock()
	c.machine = &m
	c.mu.Unlock()
	c.poke()
}

// Usage sends samples if there is a session that has room for them now, and
// drops them otherwise: the next ones say more. It never blocks. It owns its
// argument from then on.
func (c *Client) Usage(r *sdk.UsageReport) {
	if !c.Connected() {
		return
	}
	select {
	case c.usage <- r:
	default:
	}
}

func (c *Client) poke() {
	select {
	case c.notify <- struct{}{}:
	default:
	}
}

// take returns and clears what waits to be said.
func (c *Client) take() ([]sdk.TaskStatus, *sdk.Machine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, m := c.order, c.machine
	c.order, c.machine = nil, nil
	clear(c.pending)
	return st, m
}

// Run keeps a session until ctx ends. Sessions with tasks outlive a stream that
// is lost; Run returns when they have ended too.
func (c *Client) Run(ctx context.Context) error {
	if len(c.cfg.Servers) == 0 {
		return sdk.Errorf(sdk.Invalid, "node", "no server is given").ToFix("name at least one, host:port")
	}
	defer c.relays.Wait()
	next := rand.IntN(len(c.cfg.Servers))
	wait := firstWait
	for {
		addr := c.cfg.Servers[next%len(c.cfg.Servers)]
		next++
		heard, err := c.attempt(ctx, addr)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if heard {
			wait = firstWait
		}
		var refused *refusedError
		if errors.As(err, &refused) {
			// Asking again at once will not change the server's mind.
			wait = lastWait
		}
		c.cfg.Log.Warn("no session with server", "server", addr, "error", err, "had", heard)
		t := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		wait = min(2*wait, lastWait)
	}
}

// attempt dials and holds one session. It reports whether the server spoke.
func (c *Client) attempt(ctx context.Context, addr string) (heard bool, err error) {
	dctx, cancel := context.WithTimeout(ctx, c.cfg.Silence)
	conn, err := c.dial(dctx, addr)
	cancel()
	if err != nil {
		return false, err
	}
	s := &session{c: c, conn: conn, addr: addr, life: ctx, calls: map[uint64]context.CancelFunc{}, chunks: make(chan *sdk.LogChunk, 4)}
	return s.run(ctx)
}

func (c *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	if c.cfg.Dial != nil {
		return c.cfg.Dial(ctx, addr)
	}
	if c.cfg.TLS == nil {
		return nil, sdk.Errorf(sdk.Internal, "node", "no certificate to connect with")
	}
	conf := c.cfg.TLS.Clone()
	if conf.ServerName == "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, sdk.Errorf(sdk.Invalid, "node", "server address %q: %w", addr, err)
		}
		conf.ServerName = host
	}
	conf.MinVersion = tls.VersionTLS13
	return (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", addr)
}

// refusedError is a server that ended the session and said why.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return "the server refuses: " + e.why }
