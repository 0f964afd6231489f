package sim

import (
	"context"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/drupe-os/drupe/conformance/guests"
	"github.com/drupe-os/drupe/kernel"
	"github.com/drupe-os/drupe/kernel/host"
	"github.com/drupe-os/drupe/sdk"
)

var (
	seed    = flag.Uint64("sim.seed", 1, "seed of the run")
	seeds   = flag.Int("sim.seeds", 3, "how many seeds TestSeeds runs, from sim.seed on")
	nodes   = flag.Int("sim.nodes", 1000, "machines")
	minutes = flag.Int("sim.minutes", 2, "simulated minutes of trouble")
	verbose = flag.Bool("sim.log", false, "tell the history")
)

var (
	store   *kernel.Store
	plugins []sdk.Plugin
)

func TestMain(m *testing.M) {
	flag.Parse()
	var err error
	if store, plugins, err = guests.Open(context.Background(), "drf", "binpack", "service"); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	code := m.Run()
	store.Close(context.Background())
	os.Exit(code)
}

// loader adds the simulator's own framework to the real plugins.
type loader struct{ kernel.Loader }

func (l loader) Framework(ctx context.Context, p *sdk.Plugin) (kernel.Framework, error) {
	if p.Manifest.Name == BatchPlugin.Manifest.Name {
		return host.NativeOf(NewBatch), nil
	}
	return l.Loader.Framework(ctx, p)
}

func config(t *testing.T, seed uint64, nodes int) Config {
	c := Config{Seed: seed, Nodes: nodes, Documents: max(10, nodes/20), Faults: sdk.Duration(*minutes) * sdk.Minute, Heal: 20 * sdk.Minute,
		Loader: loader{store}, Plugins: plugins, Policies: []sdk.PluginName{"drf", "binpack"}, Deep: nodes <= 50}
	if *verbose {
		c.Logf = t.Logf
	}
	return c
}

func run(t *testing.T, c Config) Report {
	t.Helper()
	begin := time.Now()
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatalf("%v\nrun it again: go test ./conformance/sim -run TestSeeds -sim.seeds 1 -sim.seed %d -sim.nodes %d -sim.log -v", err, c.Seed, c.Nodes)
	}
	t.Logf("seed %d: %d nodes, %s simulated in %s (%.0f times real time), %d events, %d containers, %d server crashes, index %d, hash %.12s",
		c.Seed, c.Nodes, r.Took, time.Since(begin).Round(time.Millisecond), r.Took.Std().Seconds()/time.Since(begin).Seconds(),
		r.Events, r.Started, r.Crashes, r.Index, r.Hash)
	return r
}

// TestSeeds proves the invariants over histories of a large cluster.
func TestSeeds(t *testing.T) {
	for i := range *seeds {
		run(t, config(t, *seed+uint64(i), *nodes))
	}
}

// TestSmall proves them over many more histories of a small one, with all books
// proved after every entry.
func TestSmall(t *testing.T) {
	for i := range 10 * *seeds {
		run(t, config(t, *seed+1000+uint64(i), 12))
	}
}

// TestSameSeedSameState proves that nothing but the seed decides.
func TestSameSeedSameState(t *testing.T) {
	a, b := run(t, config(t, *seed, 100)), run(t, config(t, *seed, 100))
	if a != b {
		t.Errorf("seed %d gave two histories:\n%+v\n%+v", *seed, a, b)
	}
	if c := run(t, config(t, *seed+1, 100)); c.Hash == a.Hash {
		t.Error("another seed gave the same history: the seed decides nothing")
	}
}
