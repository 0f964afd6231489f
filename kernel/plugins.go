package kernel

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/sdk"
)

// callStats keeps how long the calls of each plugin took.
type callStats struct {
	mu sync.Mutex
	by map[sdk.PluginName]*calls
}

// calls are the counters of one plugin: how many calls, and the last of them.
type calls struct {
	n    uint64
	ring [256]int64 // microseconds
}

func (s *callStats) note(name sdk.PluginName, micros int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[sdk.PluginName]*calls{}
	}
	c := s.by[name]
	if c == nil {
		c = &calls{}
		s.by[name] = c
	}
	c.ring[c.n%uint64(len(c.ring))] = micros
	c.n++
}

// of returns the number of calls and their latency.
func (s *callStats) of(name sdk.PluginName) (uint64, sdk.Latency) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.by[name]
	if c == nil {
		return 0, sdk.Latency{}
	}
	kept := slices.Clone(c.ring[:min(c.n, uint64(len(c.ring)))])
	slices.Sort(kept)
	at := func(percent int) int64 { return kept[(len(kept)-1)*percent/100] }
	return c.n, sdk.Latency{P50: at(50), P99: at(99), Max: kept[len(kept)-1]}
}

// installBuiltin installs the plugins the server brings along, unless the
// cluster has them, and puts the default policy to work in a new cluster.
func (k *Kernel) installBuiltin() error {
	// Together, because checking a module takes most of a server's start.
	plugins, errs := make([]sdk.Plugin, len(k.cfg.Builtin)), make([]error, len(k.cfg.Builtin))
	var wg sync.WaitGroup
	for i, module := range k.cfg.Builtin {
		wg.Go(func() { plugins[i], errs[i] = k.cfg.Plugins.Install(k.ctx, module) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	k.cfg.Builtin = nil // the modules lie on disk now
	for _, p := range plugins {
		k.mu.RLock()
		have, err := k.state.Plugin(p.Manifest.Name)
		k.mu.RUnlock()
		if err == nil && (have.Digest == p.Digest || have.By != "kernel") {
			continue // an operator's choice stands
		}
		if _, err := k.one(k.ctx, "kernel", core.Command{Install: &core.InstallPlugin{Plugin: p}}); err != nil {
			return err
		}
	}
	if k.Policy().Active == "" && k.cfg.DefaultPolicy != "" {
		_, err := k.one(k.ctx, "kernel", core.Command{UsePolicy: &core.UsePolicy{Name: k.cfg.DefaultPolicy}})
		return err
	}
	return nil
}

// loadPlugins makes all installed plugins ready before this server leads, so that
// no turn waits for a compiler.
func (k *Kernel) loadPlugins() {
	k.mu.RLock()
	plugins := collect(k.state.Plugins)
	k.mu.RUnlock()
	for i := range plugins {
		if err := k.cfg.Plugins.Load(k.ctx, &plugins[i]); err != nil {
			k.log.Error("a plugin cannot be loaded", "plugin", string(plugins[i].Manifest.Name), "error", err)
		}
	}
}

// Install implements gate.Plugins.
func (k *Kernel) Install(ctx context.Context, by string, module []byte) (sdk.Plugin, error) {
	p, err := k.cfg.Plugins.Install(ctx, module)
	if err != nil {
		return sdk.Plugin{}, err
	}
	r, err := k.one(ctx, by, core.Command{Install: &core.InstallPlugin{Plugin: p}})
	if err != nil {
		return sdk.Plugin{}, err
	}
	return *r.Plugin, nil
}

// ListPlugins implements gate.Plugins.
func (k *Kernel) ListPlugins() ([]sdk.PluginView, uint64) {
	k.mu.RLock()
	all, index, active := collect(k.state.Plugins), k.state.Index(), k.state.PolicyState().Active
	k.mu.RUnlock()
	out := make([]sdk.PluginView, len(all))
	for i := range all {
		out[i] = k.pluginView(all[i], active)
	}
	return out, index
}

// Plugin implements gate.Plugins.
func (k *Kernel) Plugin(name sdk.PluginName) (sdk.PluginView, error) {
	k.mu.RLock()
	p, err := k.state.Plugin(name)
	active := k.state.PolicyState().Active
	k.mu.RUnlock()
	if err != nil {
		return sdk.PluginView{}, err
	}
	return k.pluginView(p, active), nil
}

func (k *Kernel) pluginView(p sdk.Plugin, active sdk.PluginName) sdk.PluginView {
	v := sdk.PluginView{Plugin: p}
	v.Active = !p.Quarantined && (p.Manifest.Point != sdk.PointPolicy || p.Manifest.Name == active)
	v.Calls, v.Latency = k.calls.of(p.Manifest.Name)
	return v
}

// Policy implements gate.Plugins.
func (k *Kernel) Policy() sdk.PolicyView {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.state.PolicyState()
}

// UsePolicy implements gate.Plugins. The policy is loaded before it is put to
// work, so that no batch waits for it.
func (k *Kernel) UsePolicy(ctx context.Context, by string, name sdk.PluginName) (sdk.PolicyChange, error) {
	k.mu.RLock()
	p, err := k.state.Plugin(name)
	k.mu.RUnlock()
	if err == nil && p.Manifest.Point == sdk.PointPolicy {
		warm, err := k.cfg.Plugins.Policy(ctx, &p)
		if err != nil {
			return sdk.PolicyChange{}, err
		}
		warm.Close(ctx)
	}
	r, err := k.one(ctx, by, core.Command{UsePolicy: &core.UsePolicy{Name: name}})
	if err != nil {
		return sdk.PolicyChange{}, err
	}
	return *r.Policy, nil
}

// UndoPolicy implements gate.Plugins.
func (k *Kernel) UndoPolicy(ctx context.Context, by string) (sdk.PolicyChange, error) {
	r, err := k.one(ctx, by, core.Command{UsePolicy: &core.UsePolicy{Undo: true}})
	if err != nil {
		return sdk.PolicyChange{}, err
	}
	return *r.Policy, nil
}
