package doc

import (
	"maps"
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// What an instance is given when its document does not say.
const (
	DefaultCPUs = 100      // thousandths of a core
	DefaultMem  = 64 << 20 // bytes
)

// Template returns what a node must know to run one instance, with the
// defaults for resources filled in. Everything that is a map in the document is
// sorted by its key, so equal declarations give equal templates.
func (t *Task) Template() sdk.Template {
	out := sdk.Template{Run: t.Run, Resources: t.Resources, CPUSet: t.CPUSet, Grace: t.Grace,
		Network: t.Network, HostNamespaces: t.HostNamespaces, HostDevices: t.HostDevices}
	if t.Limits != nil {
		out.Limits = *t.Limits
	}
	if _, ok := out.Resources.Lookup(sdk.CPUs); !ok {
		out.Resources = out.Resources.With(sdk.CPUs, DefaultCPUs)
	}
	if _, ok := out.Resources.Lookup(sdk.Mem); !ok {
		out.Resources = out.Resources.With(sdk.Mem, DefaultMem)
	}
	out.Env = variables(t.Env)
	for _, name := range slices.Sorted(maps.Keys(t.Sidecars)) {
		c := t.Sidecars[name]
		s := sdk.Sidecar{Name: name, Container: c.Container, Env: variables(c.Env)}
		if c.Limits != nil {
			s.Limits = *c.Limits
		}
		out.Sidecars = append(out.Sidecars, s)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Volumes)) {
		v := t.Volumes[name]
		v.Name = name
		out.Volumes = append(out.Volumes, v)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Ports)) {
		out.Ports = append(out.Ports, sdk.PortRequest{Name: name, Host: t.Ports[name].Host})
	}
	for _, name := range slices.Sorted(maps.Keys(t.Checks)) {
		c := t.Checks[name]
		c.Name = name
		out.Checks = append(out.Checks, c)
	}
	if t.Logs != nil {
		out.Logs = *t.Logs
	}
	return out
}

// variables returns the environment as a list, sorted by name.
func variables(env map[string]string) []sdk.EnvVar {
	var out []sdk.EnvVar
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, sdk.EnvVar{Name: name, Value: env[name]})
	}
	return out
}

// After returns how long to wait after a failure that n others came before:
// First × Factor^n, at most Max, in whole milliseconds rounded down. A nil
// Backoff has the defaults: 1s × 1.15^n, at most 5m. A factor below 1 counts
// as 1, so that waiting never becomes hot retrying.
func (b *Backoff) After(n int) sdk.Duration {
	first, factor, limit := sdk.Duration(sdk.Second), sdk.Milli(1150), 5*sdk.Duration(sdk.Minute)
	if b != nil {
		if b.First > 0 {
			first = b.First
		}
		if b.Factor != nil {
			factor = max(*b.Factor, 1000)
		}
		if b.Max > 0 {
			limit = b.Max
		}
	}
	d := min(first, limit)
	for range n {
		// A first of under 7 ms would stand still at 1.15 if the fraction were
		// dropped at each step, so a step that should rise rises by one.
		next := d * sdk.Duration(factor) / 1000
		if factor > 1000 {
			next = max(next, d+1)
		}
		if next >= limit || next < d {
			return limit
		}
		if next == d {
			break
		}
		d = next
	}
	return d
}
