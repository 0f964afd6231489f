// Package gossip notices quickly that other servers come and go. It is the only
// user of hashicorp/serf.
//
// What it says are hints. Gossip shares one key among all members and proves
// nobody's identity, so no decision about membership, work or data rests on it:
// a wrong hint may cause a needless look, never a wrong act.
//
// Members speak UDP and TCP on one port (4602 unless said otherwise), encrypted
// with the cluster's key. A silent member is suspected after a failed probe
// (one each second) and reported not alive some seconds later.
package gossip

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/drupe-os/drupe/sdk"
)

// DefaultPort is where members meet.
const DefaultPort = 4602

// KeySize is the size of the key, in bytes (AES-256).
const KeySize = 32

// Config says how to take part.
type Config struct {
	// Name is this server's id; one alive member only may have it.
	Name string
	// Bind is the address to listen at; port 0 takes a free one.
	Bind netip.AddrPort
	// Key encrypts and admits; all members have the same.
	Key []byte
	// Server is told to the others: where this server's log is reached.
	Server string
	// Logger receives what happens; nil: slog.Default.
	Logger *slog.Logger

	tune func(*serf.Config) // by tests, to be fast
}

// Hint says that a member seems to be alive, or not.
type Hint struct {
	Name   string // the server's id
	Gossip string // its address here
	Server string // where it says its log is reached
	Alive  bool
	// Left: it is not alive because it said goodbye.
	Left bool
}

// Gossip is this server's membership.
type Gossip struct {
	cfg   Config
	serf  *serf.Serf
	hints chan Hint
	stop  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
	err   error
}

// Start takes part, alone until Join or until somebody joins. Errors: Invalid,
// Unavailable when the address cannot be had.
func Start(cfg Config) (*Gossip, error) {
	if !sdk.ValidName(cfg.Name) || !cfg.Bind.IsValid() {
		return nil, sdk.Errorf(sdk.Invalid, "gossip", "a name and an address are needed")
	}
	if len(cfg.Key) != KeySize {
		return nil, sdk.Errorf(sdk.Invalid, "gossip", "the key has %d bytes, not %d", len(cfg.Key), KeySize)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	keys, err := memberlist.NewKeyring(nil, cfg.Key)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "gossip", "key: %w", err)
	}
	events := make(chan serf.Event, 64)
	quiet := log.New(logWriter{cfg.Logger}, "", 0)
	c := serf.DefaultConfig()
	c.NodeName = cfg.Name
	c.Tags = map[string]string{"server": cfg.Server}
	c.EventCh = events
	c.Logger, c.LogOutput = quiet, nil
	c.DisableCoordinates = true            // distances between servers are of no use here
	c.EnableNameConflictResolution = false // an impostor must not be able to vote us out
	m := c.MemberlistConfig
	m.BindAddr, m.BindPort = cfg.Bind.Addr().String(), int(cfg.Bind.Port())
	m.AdvertisePort = m.BindPort
	m.Keyring = keys
	m.Logger, m.LogOutput = quiet, nil
	if cfg.tune != nil {
		cfg.tune(c)
	}
	s, err := serf.Create(c)
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "gossip", "at %s: %w", cfg.Bind, err)
	}
	g := &Gossip{cfg: cfg, serf: s, hints: make(chan Hint), stop: make(chan struct{})}
	g.wg.Go(func() { g.pump(events) })
	return g, nil
}

// Addr returns the address that others join.
func (g *Gossip) Addr() string {
	n := g.serf.Memberlist().LocalNode()
	return n.Address()
}

// Join meets the others at any of these addresses ("host:port"). It returns how
// many answered. Errors: Unavailable when none did.
func (g *Gossip) Join(addresses []string) (int, error) {
	n, err := g.serf.Join(addresses, true)
	if n > 0 {
		return n, nil
	}
	return 0, sdk.Errorf(sdk.Unavailable, "gossip", "no server answers at %s: %w", strings.Join(addresses, ", "), err)
}

// Members returns what is believed of all members, this one included.
func (g *Gossip) Members() []Hint {
	var out []Hint
	for _, m := range g.serf.Members() {
		out = append(out, hint(m))
	}
	return out
}

// Hints tells of changes among the other members, until Close closes it. When
// they are read too slowly, only the latest of each member is kept.
func (g *Gossip) Hints() <-chan Hint { return g.hints }

// pump turns events into hints.
func (g *Gossip) pump(events <-chan serf.Event) {
	defer close(g.hints)
	var waiting []Hint
	for {
		var out chan Hint
		var first Hint
		if len(waiting) > 0 {
			out, first = g.hints, waiting[0]
		}
		select {
		case <-g.stop:
			return
		case out <- first:
			waiting = waiting[1:]
		case e := <-events:
			change, ok := e.(serf.MemberEvent)
			if !ok {
				continue // user events and queries are not ours
			}
			for _, m := range change.Members {
				if m.Name != g.cfg.Name {
					h := hint(m)
					h.Alive = change.Type == serf.EventMemberJoin || change.Type == serf.EventMemberUpdate
					h.Left = change.Type == serf.EventMemberLeave
					waiting = replace(waiting, h)
				}
			}
		}
	}
}

// replace puts a hint at the end, in place of an older one of the member.
func replace(waiting []Hint, h Hint) []Hint {
	for i, w := range waiting {
		if w.Name == h.Name {
			waiting = append(waiting[:i:i], waiting[i+1:]...)
			break
		}
	}
	return append(waiting, h)
}

func hint(m serf.Member) Hint {
	return Hint{
		Name: m.Name, Server: m.Tags["server"], Alive: m.Status == serf.StatusAlive, Left: m.Status == serf.StatusLeft,
		Gossip: net.JoinHostPort(m.Addr.String(), strconv.Itoa(int(m.Port))),
	}
}

// Leave says goodbye, so that the others need not find out, then closes. When
// ctx ends before, it closes without.
func (g *Gossip) Leave(ctx context.Context) error {
	left := make(chan error, 1)
	go func() { left <- g.serf.Leave() }()
	var err error
	select {
	case err = <-left:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return errors.Join(err, g.Close())
}

// Close stops without a word.
func (g *Gossip) Close() error {
	g.once.Do(func() {
		g.err = g.serf.Shutdown()
		close(g.stop)
		g.wg.Wait()
	})
	return g.err
}

// logWriter sends serf's lines, which begin with a level in brackets, to slog.
type logWriter struct{ log *slog.Logger }

func (w logWriter) Write(b []byte) (int, error) {
	line := strings.TrimSpace(string(b))
	level := slog.LevelDebug
	if strings.HasPrefix(line, "[ERR") {
		level = slog.LevelWarn // a hint less, nothing more
	}
	if _, text, ok := strings.Cut(line, "] "); ok && strings.HasPrefix(line, "[") {
		line = text
	}
	w.log.Log(context.Background(), level, "gossip: "+line)
	return len(b), nil
}
