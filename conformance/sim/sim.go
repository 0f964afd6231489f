// Package sim runs a whole cluster in one goroutine: the real core, the real
// turns of the leader, real plugins, the real planner of the agents, and around
// them a simulated world of machines, containers, networks, crashes and time.
//
// Everything random comes from one seed, and nothing else decides: the same
// seed gives the same history and the same hash of the state. After every entry
// the invariants are proved; an auditor besides looks only at the machines
// themselves, not at the books. A failing run names its seed.
package sim

import (
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/drupe-os/drupe/kernel"
	"github.com/drupe-os/drupe/sdk"
)

// Config is a simulated cluster and what befalls it.
type Config struct {
	Seed  uint64
	Nodes int
	// Documents is how many services are declared over time.
	Documents int
	// Faults is how long things go wrong; then all is mended and the cluster has
	// Heal to become what was declared.
	Faults, Heal sdk.Duration
	// Loader makes the plugins' instances; Plugins are installed at the start.
	Loader  kernel.Loader
	Plugins []sdk.Plugin
	// Policies are swapped at random.
	Policies []sdk.PluginName
	// Deep proves all books after every entry, instead of those touched, and of
	// all now and then.
	Deep bool
	// Logf is told the history, line by line. May be nil.
	Logf func(format string, args ...any)
}

// Report is what a run came to.
type Report struct {
	Hash    string // of the final state
	Index   uint64
	Events  int // simulated
	Started int // containers
	Crashes int // of servers
	Took    sdk.Duration
}

// Sim is one simulated cluster.
type Sim struct {
	cfg   Config
	rand  *rand.Rand
	now   sdk.Time
	queue events
	seq   uint64
	count int

	server  *server
	agents  []*agent
	auditor auditor
	images  map[int]int // of documents, as declared last
	healing bool
	failure error
}

// event is something that happens at a time. Equal times keep their order.
type event struct {
	at  sdk.Time
	seq uint64
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	*e = old[:len(old)-1]
	return x
}

// after has do happen when d has passed.
func (s *Sim) after(d sdk.Duration, do func()) {
	s.seq++
	heap.Push(&s.queue, event{s.now.Add(d), s.seq, do})
}

// between returns a random span.
func (s *Sim) between(min, max sdk.Duration) sdk.Duration {
	return min + sdk.Duration(s.rand.Int64N(int64(max-min)+1))
}

// chance is true in so many of a thousand cases.
func (s *Sim) chance(thousandth int) bool { return s.rand.IntN(1000) < thousandth }

// fail ends the run. The first failure counts.
func (s *Sim) fail(format string, args ...any) {
	if s.failure == nil {
		s.failure = fmt.Errorf("seed %d, %s after the start, index %d: %s", s.cfg.Seed, s.now.Sub(start), s.server.index(), fmt.Sprintf(format, args...))
	}
}

func (s *Sim) logf(format string, args ...any) {
	if s.cfg.Logf != nil {
		s.cfg.Logf("%9s "+format, append([]any{s.now.Sub(start).String()}, args...)...)
	}
}

// start is the simulated moment at which everything begins.
const start = sdk.Time(1_700_000_000_000)

// Run simulates. Errors: the first promise that was broken, with the seed.
func Run(ctx context.Context, cfg Config) (Report, error) {
	s := &Sim{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)), now: start, images: map[int]int{}}
	s.auditor.init(s)
	s.server = newServer(ctx, s)
	for i := range cfg.Nodes {
		s.agents = append(s.agents, newAgent(s, i))
	}
	s.begin()
	s.runUntil(start.Add(cfg.Faults))
	s.heal()
	end := s.now.Add(cfg.Heal)
	for s.failure == nil && s.now < end {
		s.runUntil(min(end, s.now.Add(5*sdk.Second)))
		if s.auditor.settled() == nil {
			break
		}
	}
	if s.failure == nil {
		if err := s.auditor.settled(); err != nil {
			s.fail("%s after all was mended: %v", cfg.Heal, err)
		}
	}
	s.server.stop()
	return Report{Hash: s.server.state.Hash(), Index: s.server.index(), Events: s.count, Started: len(s.auditor.started),
		Crashes: s.server.crashes, Took: s.now.Sub(start)}, s.failure
}

// runUntil lets everything happen that is due by t.
func (s *Sim) runUntil(t sdk.Time) {
	for s.failure == nil && len(s.queue) > 0 && s.queue[0].at <= t {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		s.count++
		e.do()
	}
	s.now = max(s.now, t)
}
