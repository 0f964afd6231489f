package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/conformance/guests"
	"github.com/drupe-os/drupe/cue/worker"
	"github.com/drupe-os/drupe/kernel"
	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/kernel/guard"
	"github.com/drupe-os/drupe/kernel/identity"
	"github.com/drupe-os/drupe/kernel/replica"
	"github.com/drupe-os/drupe/sdk"
)

// serverArgument makes this program a server with nodes that are only said to
// be there. All else is what ships: log on disk, plugins in their sandbox, the
// API over TLS. It is a process of its own, so that its CPU time and memory are
// its own.
const serverArgument = "bench-server"

// hello is the first line a server writes.
type hello struct {
	Address, CA, Token string
	Ready, Nodes       time.Duration // until it answered; until all nodes were connected
}

// order is what a server is told, one line of JSON each.
type order struct {
	Do    string // await, hash, rounds, profile, usage
	Tasks int64  // await: assignments sent since the start
	File  string // profile: where to write; "" ends it
}

// answer is a server's reply to one order.
type answer struct {
	At     time.Time
	CPU    time.Duration
	RSS    int64 // bytes, the peak so far
	Bytes  int64 // sent to nodes
	Hash   string
	Index  uint64
	Rounds []round
	Error  string
}

// round is one call of a policy.
type round struct {
	Policy     sdk.PluginName
	Begin, End time.Time
}

func serverMain(args []string) int {
	fs := flag.NewFlagSet(serverArgument, flag.ContinueOnError)
	data := fs.String("data", "", "")
	nodes := fs.Int("nodes", 0, "")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if err := serveBench(*data, *nodes); err != nil {
		fmt.Fprintln(os.Stderr, "bench server:", err)
		return 1
	}
	return 0
}

func serveBench(data string, nodes int) error {
	begun := time.Now()
	ctx := context.Background()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	authority, err := identity.Open(filepath.Join(data, "identity"), "bench")
	if err != nil {
		return err
	}
	store, _, err := guests.Open(ctx)
	if err != nil {
		return err
	}
	defer store.Close(ctx)
	builtin, err := modules()
	if err != nil {
		return err
	}
	watched := &watchedStore{Store: store}
	fake := &fakeAgents{arrived: make(chan struct{}, 1)}
	k, err := kernel.Open(kernel.Config{
		Replica: replica.Config{Dir: filepath.Join(data, "log"), ID: "bench", Bootstrap: true, Logger: log},
		Plugins: watched, Builtin: builtin, DefaultPolicy: "drf", Agents: fake, Version: "bench", Logger: log,
	})
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.AwaitReady(ctx); err != nil {
		return err
	}
	h := hello{Ready: time.Since(begun), CA: string(authority.CA())}
	if h.Token, err = authority.NewPerson("admin", time.Hour); err != nil {
		return err
	}
	pool := worker.New(worker.Config{})
	defer pool.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	credentials, err := authority.Server("bench", "127.0.0.1")
	if err != nil {
		return err
	}
	api := gate.NewServer(gate.New(gate.Needs{
		Documents: k, Tasks: k, Cluster: k, Plugins: k, Events: k, Auth: authority,
		Guard: guard.New(guard.Standard()...), Checker: pool, Ready: k.Ready, Metrics: k.Metrics,
	}, gate.Options{Version: "bench", Log: log}), credentials.API())
	go api.Serve(tls.NewListener(l, credentials.API()))
	defer api.Close()
	h.Address = "https://" + l.Addr().String()
	connecting := time.Now()
	if err := connect(k, nodes); err != nil {
		return err
	}
	h.Nodes = time.Since(connecting)
	return obey(h, k, fake, watched)
}

// modules reads the built plugins.
func modules() ([][]byte, error) {
	var out [][]byte
	for _, name := range []string{"drf", "binpack", "service"} {
		b, err := os.ReadFile(filepath.Join(guests.Root(), "bin", "plugins", name+".wasm"))
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// connect connects nodes, many at a time, as after a restart of the network.
func connect(k *kernel.Kernel, nodes int) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= nodes || failed.Load() != nil {
					return
				}
				name := fmt.Sprintf("n%d", i)
				if err := k.AgentConnected(sdk.NodeID("id-"+name), uint64(i+1), &sdk.Hello{Protocol: sdk.AgentProtocol, Name: name, Machine: nodeMachine(i, name)}); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// fakeAgents are nodes that take what they are sent, encoded as for the wire,
// and count it.
type fakeAgents struct {
	mu      sync.Mutex
	buf     []byte
	bytes   atomic.Int64
	tasks   atomic.Int64
	arrived chan struct{}
}

func (f *fakeAgents) Send(_ sdk.NodeID, d *sdk.Desired) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buf, _ = d.MarshalMsg(f.buf[:0])
	f.bytes.Add(int64(len(f.buf)))
	f.tasks.Add(int64(len(d.Tasks)))
	select {
	case f.arrived <- struct{}{}:
	default:
	}
}

func (f *fakeAgents) Ack(sdk.NodeID, uint64, uint64) {}

func (f *fakeAgents) Logs(context.Context, sdk.NodeID, sdk.LogRequest) (<-chan sdk.LogChunk, error) {
	return nil, sdk.Errorf(sdk.Unsupported, "node", "it is only said to be there")
}

func (f *fakeAgents) Open(context.Context, sdk.NodeID, sdk.TaskID, []byte) (net.Conn, error) {
	return nil, sdk.Errorf(sdk.Unsupported, "session", "these nodes have none")
}

// watchedStore notes when policies are called.
type watchedStore struct {
	*kernel.Store
	mu     sync.Mutex
	rounds []round
}

func (s *watchedStore) Policy(ctx context.Context, p *sdk.Plugin) (kernel.Policy, error) {
	inner, err := s.Store.Policy(ctx, p)
	if err != nil {
		return nil, err
	}
	return &watchedPolicy{inner, s, p.Manifest.Name}, nil
}

// obey answers orders until there are none any more.
func obey(h hello, k *kernel.Kernel, fake *fakeAgents, watched *watchedStore) error {
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(h); err != nil {
		return err
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			return err
		}
		var a answer
		switch o.Do {
		case "await":
			for fake.tasks.Load() < o.Tasks {
				<-fake.arrived
			}
			a.At = time.Now()
		case "hash":
			a.Hash, a.Index = k.Hash()
		case "rounds":
			watched.mu.Lock()
			a.Rounds, watched.rounds = watched.rounds, nil
			watched.mu.Unlock()
		case "profile":
			if err := profile(o.File); err != nil {
				a.Error = err.Error()
			}
		}
		a.CPU, a.RSS, a.Bytes = ownCPU(), status(os.Getpid(), "VmHWM"), fake.bytes.Load()
		if err := out.Encode(a); err != nil {
			return err
		}
	}
	return in.Err()
}

// profile begins a CPU profile, or ends the one that runs.
func profile(file string) error {
	if file == "" {
		pprof.StopCPUProfile()
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// ownCPU is the CPU time of this process alone.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
