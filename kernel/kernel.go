// Package kernel is the shell around the pure core: it owns the state machine,
// feeds it what happens, and carries out what follows.
//
// There is one way in: an entry is proposed to the log, committed, and applied
// on every server. There is one way out: what applying an entry changed goes to
// the watchers, to the agents, and wakes the leader's loop, whose turns call
// the plugins and propose the next entry.
package kernel

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/kernel/replica"
	"github.com/drupe-os/drupe/kernel/stream"
	"github.com/drupe-os/drupe/sdk"
)

// Config says what a kernel is made of.
type Config struct {
	Replica replica.Config
	// Plugins loads and keeps plugins' modules.
	Plugins Modules
	// Builtin plugins are installed when the cluster does not have them yet.
	Builtin [][]byte
	// DefaultPolicy is put to work in a new cluster.
	DefaultPolicy sdk.PluginName
	// Agents reaches the nodes.
	Agents Agents
	// NodeGrace is how long a node may be without a session before it counts as
	// unreachable; 0 is 3s.
	NodeGrace time.Duration
	// Version of this server, for people.
	Version string
	Logger  *slog.Logger
}

// Modules keeps plugins' modules and makes instances of them.
type Modules interface {
	Loader
	// Install checks and compiles a module and keeps it. Errors: Invalid with
	// what is wrong with it.
	Install(ctx context.Context, module []byte) (sdk.Plugin, error)
	// Load makes an installed plugin ready, so that an instance of it takes no
	// compiling. Errors: those of Policy and Framework.
	Load(ctx context.Context, p *sdk.Plugin) error
	// Close closes all modules.
	Close(ctx context.Context) error
}

// Agents reaches the nodes' sessions. Methods never block.
type Agents interface {
	// Send sends a node what changed of its tasks, or all of it. What cannot be
	// sent is dropped together with the session.
	Send(node sdk.NodeID, d *sdk.Desired)
	// Ack says that a session's reports up to seq are committed.
	Ack(node sdk.NodeID, session, seq uint64)
	// Logs asks a node for a task's output.
	Logs(ctx context.Context, node sdk.NodeID, r sdk.LogRequest) (<-chan sdk.LogChunk, error)
	// Open opens a session with a task of a node. The request is that of
	// sdk/session in JSON, and the connection carries its frames.
	Open(ctx context.Context, node sdk.NodeID, task sdk.TaskID, request []byte) (net.Conn, error)
}

// Kernel is one server.
type Kernel struct {
	cfg     Config
	log     *slog.Logger
	replica *replica.Replica
	events  *stream.Stream
	turn    *Turn
	calls   callStats

	mu    sync.RWMutex // guards state: written by Apply and by rounds
	state *core.State
	fatal error

	kick     chan struct{}
	leader   bool // guarded by mu
	reports  chan report
	sessions sessions
	usages   usages

	stop context.CancelFunc
	ctx  context.Context
	wg   sync.WaitGroup
}

// eventsKept is how many events watchers can go back.
const eventsKept = 65_536

// Open opens the data folder and starts the server. Errors: those of the
// replica.
func Open(cfg Config) (*Kernel, error) {
	if cfg.NodeGrace == 0 {
		cfg.NodeGrace = 3 * time.Second
	}
	k := &Kernel{
		cfg:     cfg,
		log:     cfg.Logger,
		events:  stream.New(eventsKept),
		state:   core.New(),
		kick:    make(chan struct{}, 1),
		reports: make(chan report, 4096),
	}
	k.sessions.open = map[sdk.NodeID]uint64{}
	k.usages.clear()
	k.ctx, k.stop = context.WithCancel(context.Background())
	k.turn = &Turn{
		State:  func() *core.State { return k.state },
		Lock:   &k.mu,
		Loader: cfg.Plugins,
		Logf: func(p sdk.PluginName, line string) {
			k.log.Info(line, "plugin", string(p))
		},
		Clock: func() int64 { return time.Now().UnixMicro() },
		Calls: k.calls.note,
	}
	r, err := replica.Open(cfg.Replica, machine{k})
	if err != nil {
		k.stop()
		return nil, err
	}
	k.mu.Lock()
	k.replica = r
	k.mu.Unlock()
	k.wg.Go(k.lead)
	k.wg.Go(k.batchReports)
	return k, nil
}

// Halt has the server stop deciding and no longer miss its nodes. Close must
// follow.
func (k *Kernel) Halt() { k.stop() }

// Close stops the server. Tasks run on.
func (k *Kernel) Close() error {
	k.stop()
	k.wg.Wait()
	return k.replica.Close()
}

// Ready returns nil when this server leads and has applied its log.
func (k *Kernel) Ready() error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	switch {
	case k.fatal != nil:
		return k.fatal
	case !k.leader:
		return sdk.Errorf(sdk.Unavailable, "server", "it is not the leader, or still reading its log")
	}
	return nil
}

// now is the clock of entries.
func now() sdk.Time { return sdk.Time(time.Now().UnixMilli()) }
