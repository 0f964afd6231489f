package serve

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/drupe-os/drupe/agent"
	"github.com/drupe-os/drupe/agent/grant"
	"github.com/drupe-os/drupe/agent/identity"
	"github.com/drupe-os/drupe/agent/probe"
	"github.com/drupe-os/drupe/cmd/cli"
	"github.com/drupe-os/drupe/isolation/gpu"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
)

// agentConfig is what one agent is made of.
type agentConfig struct {
	Data, Name string
	Servers    []string // addresses of the API
	Token      string   // to join; "" when joined before
	Address    string
	Share, Of  int
	Attributes []sdk.Attribute
	ShareGPUs  bool
	Reserve    cli.Reserve
	Images     cli.ImageOptions
	Grants     cli.GrantOptions
	DieWith    bool
	Log        *slog.Logger
}

// node is one running agent.
type node struct {
	agent   *agent.Agent
	runtime *runc.Client
	watch   func(context.Context) // looks after the devices
}

// startAgent joins the cluster if it must, and finds or starts the keeper.
func startAgent(ctx context.Context, cfg agentConfig) (*node, error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, cfg.Data, "the data folder cannot be made: %w", err)
	}
	id, err := identity.Load(cfg.Data)
	if sdk.KindOf(err) == sdk.NotFound && cfg.Token != "" {
		id, err = identity.Join(ctx, cfg.Data, cfg.Servers[0], cfg.Token)
	}
	if err != nil {
		return nil, err
	}
	machine, err := survey(cfg)
	if err != nil {
		return nil, err
	}
	images, err := openImages(cfg, id)
	if err != nil {
		return nil, err
	}
	program, err := keeper()
	if err != nil {
		return nil, err
	}
	rt, err := runc.Open(ctx, runc.Config{StateDir: filepath.Join(cfg.Data, "keeper"), Keeper: program, DieWith: cfg.DieWith})
	if err != nil {
		return nil, err
	}
	for _, d := range rt.Info().Degraded {
		cfg.Log.Warn("isolation is less than usual here", "node", cfg.Name, "why", d)
	}
	grants, err := grant.New(cfg.Grants.Allow, cfg.Grants.Deny, rt.Info().UserNamespaces)
	if err != nil {
		return nil, err
	}
	machine.Attributes = slices.Concat(machine.Attributes, runtimeFacts(rt.Info()), grants.Attributes())
	cards := gpu.New(gpu.Options{Share: cfg.ShareGPUs})
	found, err := cards.Look()
	if err != nil {
		cfg.Log.Warn("GPUs cannot be asked for", "error", err)
	} else {
		cfg.Log.Info("GPUs", "note", found.Note)
	}
	a, err := agent.New(agent.Config{Dir: cfg.Data, Name: cfg.Name, Machine: equip(machine, found, cfg), Runtime: rt, Devices: devices{cards}, Images: images, Grants: grants,
		ModuleRunner: moduleRunner, Disk: agent.Marks{High: cfg.Images.DiskHigh, Low: cfg.Images.DiskLow, Full: cfg.Images.DiskFull},
		Servers: streams(cfg.Servers, id.Port), TLS: id.TLS(), Boot: probe.BootID(), Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	return &node{a, rt, func(ctx context.Context) {
		defer cards.Close()
		cards.Watch(ctx, 0, func(f gpu.Found) {
			cfg.Log.Warn("GPUs changed", "note", f.Note)
			a.UpdateMachine(equip(machine, f, cfg))
		})
	}}, nil
}

// run runs the agent, and what looks after its devices, until ctx ends.
func (n *node) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { n.watch(ctx) })
	err := n.agent.Run(ctx)
	cancel()
	wg.Wait()
	return err
}

// survey finds out what the machine, or this agent's share of it, has.
func survey(cfg agentConfig) (sdk.Machine, error) {
	m, err := probe.Machine(probe.Options{Dir: cfg.Data, Address: cfg.Address, Version: cli.Version, Share: cfg.Share, Of: cfg.Of,
		ReserveCPUs: cfg.Reserve.CPUs, ReserveMem: cfg.Reserve.Mem, ReserveDisk: cfg.Reserve.Disk})
	if err != nil {
		return m, err
	}
	return m, nil
}

// equip returns the machine m with its devices, or this agent's share of them, and
// what the operator says of it.
func equip(m sdk.Machine, f gpu.Found, cfg agentConfig) sdk.Machine {
	m.Devices, m.Capacity = nil, slices.Clone(m.Capacity)
	for i, d := range slices.Concat(f.Devices, described()) {
		if cfg.Of > 1 && i%cfg.Of != cfg.Share {
			continue
		}
		m.Devices = append(m.Devices, d)
		if d.Healthy {
			m.Capacity = m.Capacity.With(d.Resource, m.Capacity.Get(d.Resource)+1000)
		}
	}
	m.Attributes = slices.Concat(m.Attributes, f.Attributes)
	for _, a := range cfg.Attributes {
		m.Attributes = slices.DeleteFunc(m.Attributes, func(b sdk.Attribute) bool { return b.Name == a.Name })
		m.Attributes = append(m.Attributes, a)
	}
	slices.SortFunc(m.Attributes, func(a, b sdk.Attribute) int { return strings.Compare(a.Name, b.Name) })
	return m
}

// runtimeFacts are what placement may ask of the isolator.
func runtimeFacts(i runc.Info) []sdk.Attribute {
	list := []sdk.Attribute{{Name: "isolation.userns", Value: strconv.FormatBool(i.UserNamespaces)}, {Name: "isolation.degraded", Value: strconv.Itoa(len(i.Degraded))}}
	if i.DiskLimit != "" {
		list = append(list, sdk.Attribute{Name: "isolation.disk_limit", Value: i.DiskLimit})
	}
	if i.Runc != "" {
		list = append(list, sdk.Attribute{Name: "isolation.runc", Value: i.Runc})
	}
	return list
}

// streams are the servers' addresses for agents: the hosts of the API at the
// port that joining named.
func streams(servers []string, port uint16) []string {
	var out []string
	for _, s := range servers {
		host, _, err := net.SplitHostPort(strings.TrimPrefix(s, "https://"))
		if err != nil {
			host = strings.TrimPrefix(s, "https://")
		}
		out = append(out, net.JoinHostPort(host, strconv.Itoa(int(port))))
	}
	return out
}

// Agent runs the agent of this machine until ctx is done. It is cli.RunAgent.
func Agent(ctx context.Context, o cli.AgentOptions, st cli.Streams) error {
	data, err := filepath.Abs(o.Data)
	if err != nil {
		return err
	}
	cfg := agentConfig{Data: data, Name: o.Name, Servers: o.Servers, Address: o.Address, Attributes: o.Attributes, ShareGPUs: o.ShareGPUs, Reserve: o.Reserve, Images: o.Images, Grants: o.Grants, Log: logger(st.Err, st.Getenv)}
	if o.TokenFile != "" {
		b, err := os.ReadFile(o.TokenFile)
		if err != nil {
			return sdk.Errorf(sdk.NotFound, o.TokenFile, "the token to join cannot be read: %w", err)
		}
		cfg.Token = strings.TrimSpace(string(b))
	}
	if err := examine(ctx, cfg, o.TokenFile); err != nil {
		return err
	}
	n, err := startAgent(ctx, cfg)
	if err != nil {
		return err
	}
	st.Printf("node runs; its tasks go on when this ends\n")
	return n.run(ctx)
}
