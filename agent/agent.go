// Package agent is the node: it makes its machine run what the servers want
// and tells them what became of it.
//
// The agent is level-triggered. It knows what is desired, what it last said and
// what the runtime shows, and asks agent/plan for the one next step of a task
// whenever one of the three changes. One goroutine owns that knowledge; what
// takes time is done by bounded workers whose results come back to it. The
// agent may be killed at any moment: containers and their exits live in the
// runtime, the rest on disk (agent/disk) or with the servers.
//
// Of package isolation the agent uses the contract, never an implementation;
// cmd joins the two.
package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/drupe-os/drupe/agent/check"
	"github.com/drupe-os/drupe/agent/disk"
	"github.com/drupe-os/drupe/agent/grant"
	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/agent/uplink"
	"github.com/drupe-os/drupe/agent/wasm"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// Images gets images onto the node; *image.Store is the one.
type Images interface {
	// Resolve returns the image, unpacked; image.WithProgress hears how far it
	// is. Errors: *image.Error.
	Resolve(ctx context.Context, ref string) (*image.Image, error)
	// ResolveModule returns the file of the WebAssembly module that ref names,
	// which is "file:/PATH" or an artifact, and what Sweep knows it by. Errors:
	// *image.Error.
	ResolveModule(ctx context.Context, ref string) (path string, d sdk.Digest, err error)
	// Sweep removes what is neither in use nor was asked for within age.
	Sweep(inUse []sdk.Digest, age time.Duration) (layers int, err error)
	// Relieve removes what is not in use, the longest unasked for first, until
	// enough reports true.
	Relieve(inUse []sdk.Digest, enough func() bool) (layers int, err error)
}

// Config is what an agent is made of. Dir, Runtime and Servers must be set, and
// TLS or Dial.
type Config struct {
	// Dir is the agent's data folder; see README.md for what lies in it.
	Dir string
	// Name is the wanted node name. "" keeps the one of before, or takes the
	// machine's host name.
	Name    string
	Machine sdk.Machine // see agent/probe
	Runtime isolation.Runtime
	// Devices hands over those of Machine; nil: there are none to hand over.
	Devices Devices
	// Images; nil opens a store in Dir.
	Images Images
	// Grants are what tasks may ask for of the node; the zero value has what
	// every node allows.
	Grants grant.Grants
	// ModuleRunner returns the program that runs WebAssembly modules; nil: this
	// node runs none.
	ModuleRunner func() ([]byte, error)
	// Disk are the marks of the data folder's disk; 0 in each: 85, 75 and 95.
	Disk Marks
	// Statfs measures the file system of a path; nil asks the kernel.
	Statfs func(path string) (Space, error)

	Servers []string    // host:port
	TLS     *tls.Config // the node's certificate and the cluster's authority
	// Dial opens the stream to a server in place of TLS.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// Boot names the time since the machine started (probe.BootID).
	Boot string
	// KeepLogs is how long the output of forgotten tasks stays; 0: a day.
	KeepLogs time.Duration
	// Fetches and Operations bound how many images are fetched and how many
	// containers are worked on at a time; 0: 4 and 8.
	Fetches, Operations int
	// Sample is the time between two measurements of what the tasks use; 0: 5
	// seconds.
	Sample time.Duration
	Log    *slog.Logger // nil: silent
}

// checkers bounds how many health checks run at a time.
const checkers = 32

// Agent is a node. Make one with New, then Run it once.
type Agent struct {
	cfg    Config
	log    *slog.Logger
	store  *disk.Store
	loaded *disk.Loaded
	name   string
	up     *uplink.Client
	checks *check.Runner
	// modules are the WebAssembly modules on this node.
	modules *wasm.Store

	in   chan func() // what happened, for the loop
	done chan struct{}
	// ctx is that of Run.
	ctx context.Context

	// All below belongs to the loop.
	tasks   map[sdk.TaskID]*task
	fetches pool
	ops     pool
	saver   saver
	watch   watch
	// pressure is how the disk is.
	pressure pressure
	// sampling: a measurement is under way.
	sampling bool
	// doubt: the checkpoint lost records, and no full Desired has come since.
	doubt bool
	// lost are tasks whose own record was damaged.
	lost map[sdk.TaskID]bool

	// live holds the tasks that have not ended, for readers of logs.
	live sync.Map
}

// New opens the agent's folder and reads its checkpoint. Errors: those of
// disk.Open and image.Open, Invalid for a Config that lacks something.
func New(cfg Config) (*Agent, error) {
	switch {
	case cfg.Dir == "":
		return nil, sdk.Errorf(sdk.Invalid, "agent", "no data folder is given")
	case cfg.Runtime == nil:
		return nil, sdk.Errorf(sdk.Invalid, "agent", "no isolator is given")
	case len(cfg.Servers) == 0:
		return nil, sdk.Errorf(sdk.Invalid, "agent", "no server is given").ToFix("name at least one, host:port")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Machine.Address == "" {
		cfg.Machine.Address = "127.0.0.1"
	}
	if cfg.Statfs == nil {
		cfg.Statfs = statfs
	}
	cfg.Disk = Marks{High: cmp.Or(cfg.Disk.High, 85), Low: cmp.Or(cfg.Disk.Low, 75), Full: cmp.Or(cfg.Disk.Full, 95)}
	if cfg.KeepLogs <= 0 {
		cfg.KeepLogs = 24 * time.Hour
	}
	if cfg.Fetches <= 0 {
		cfg.Fetches = 4
	}
	if cfg.Operations <= 0 {
		cfg.Operations = 8
	}
	if cfg.Sample <= 0 {
		cfg.Sample = 5 * time.Second
	}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, "tasks"), 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "agent", "make data folder: %w", err)
	}
	if cfg.Images == nil {
		s, err := image.Open(filepath.Join(cfg.Dir, "images"), image.Options{})
		if err != nil {
			return nil, err
		}
		cfg.Images = s
	}
	modules, err := openModules(&cfg)
	if err != nil {
		return nil, err
	}
	store, loaded, err := disk.Open(cfg.Dir)
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, modules: modules, log: cfg.Log, store: store, loaded: loaded,
		in: make(chan func(), 256), done: make(chan struct{}),
		tasks: map[sdk.TaskID]*task{}, lost: map[sdk.TaskID]bool{},
		fetches: pool{free: cfg.Fetches}, ops: pool{free: cfg.Operations}}
	if err := a.identify(); err != nil {
		store.Close()
		return nil, err
	}
	a.checks = check.New(checkers, a.exec, func(v check.Verdict) { a.post(func() { a.verdict(v) }) })
	a.up = uplink.New(uplink.Config{Servers: cfg.Servers, TLS: cfg.TLS, Dial: cfg.Dial, Log: cfg.Log,
		Hello: a.hello, Logs: a.readLogs, Open: a.openSession,
		Desired: func(_ context.Context, d *sdk.Desired) { a.post(func() { a.desired(d) }) }})
	return a, nil
}

// identify settles the node's name and takes up the records of before.
func (a *Agent) identify() error {
	id := a.loaded.Identity
	a.name = a.cfg.Name
	if a.name == "" {
		a.name = id.Name
	}
	if a.name == "" {
		a.name = a.cfg.Machine.Hostname
	}
	rebooted := id.Boot != "" && id.Boot != a.cfg.Boot
	if id.Name != a.name || id.Boot != a.cfg.Boot {
		id.Name, id.Boot = a.name, a.cfg.Boot
		if err := a.store.SaveIdentity(id); err != nil {
			return err
		}
	}
	a.doubt = a.loaded.Incomplete
	for _, d := range a.loaded.Damaged {
		a.log.Error("checkpoint", "error", d.Fault)
		if d.Task != "" {
			a.lost[d.Task] = true
		}
	}
	for i := range a.loaded.Records {
		t := a.recall(&a.loaded.Records[i], rebooted)
		a.tasks[t.id()] = t
	}
	a.loaded = nil
	return nil
}

// Name returns the node's name.
func (a *Agent) Name() string { return a.name }

// Connected reports whether the agent has a session with a server.
func (a *Agent) Connected() bool { return a.up.Connected() }

// UpdateMachine tells the servers that the machine changed.
func (a *Agent) UpdateMachine(m sdk.Machine) {
	a.post(func() {
		a.cfg.Machine = m
		a.up.UpdateMachine(a.machine())
	})
}

// Run is the node until ctx ends. Tasks run on after it. It returns once its
// workers have ended and the checkpoint is written.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	a.ctx = ctx
	var wg sync.WaitGroup
	// The servers hear of this node once it has looked at what runs on it.
	seen := make(chan struct{})
	a.watch.first = seen
	wg.Go(func() { a.exits(ctx) })
	wg.Go(func() { a.checks.Run(ctx) })
	wg.Go(func() {
		select {
		case <-seen:
			a.up.Run(ctx)
		case <-ctx.Done():
		}
	})
	a.loop(ctx)
	cancel()
	close(a.done)
	wg.Wait()
	return a.close()
}

// post hands f to the loop. The loop itself must not call it.
func (a *Agent) post(f func()) {
	select {
	case a.in <- f:
	case <-a.done:
	}
}

// loop is the one goroutine that owns the agent's knowledge.
func (a *Agent) loop(ctx context.Context) {
	sweep := time.NewTicker(10 * time.Minute)
	defer sweep.Stop()
	// The runtime tells of every exit; looking now and then finds what a lost
	// message would have told.
	look := time.NewTicker(30 * time.Second)
	defer look.Stop()
	relieve := time.NewTicker(relieveEvery)
	defer relieve.Stop()
	a.relieve()
	sample := time.NewTicker(a.cfg.Sample)
	defer sample.Stop()
	a.look()
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-a.in:
			f()
		case <-look.C:
			a.look()
		case <-sample.C:
			a.sample()
		case <-sweep.C:
			a.sweep()
		case <-relieve.C:
			a.relieve()
		}
	}
}

// close waits for the work under way and writes what is not on disk yet.
func (a *Agent) close() error {
	a.ops.wait()
	a.fetches.wait()
	a.saver.wait()
	recs, del, _ := a.collect()
	var err error
	if len(recs)+len(del) > 0 {
		err = a.store.Save(recs, del)
	}
	if cerr := a.store.Close(); err == nil && cerr != nil {
		err = sdk.Errorf(sdk.Unavailable, "checkpoint", "close: %w", cerr)
	}
	return err
}

func now() sdk.Time { return sdk.Time(time.Now().UnixMilli()) }

// hello gathers all the node knows, for the start of a session. It waits until
// that is on disk, as for every other word to the servers.
func (a *Agent) hello(ctx context.Context) (*sdk.Hello, error) {
	answer := make(chan *sdk.Hello, 1)
	a.post(func() {
		a.afterSave(func() {
			h := &sdk.Hello{Protocol: sdk.AgentProtocol, Name: a.name, Machine: a.machine()}
			for _, t := range a.tasks {
				switch {
				case t.told.Task != "":
					h.Tasks = append(h.Tasks, t.told)
				case t.plan.Seen != plan.Absent:
					// Of others that it has not begun it says nothing.
					h.Tasks = append(h.Tasks, t.rec.Status)
				}
			}
			answer <- h
		})
	})
	select {
	case h := <-answer:
		return h, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
