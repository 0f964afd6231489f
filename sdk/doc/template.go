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
	out := sdk.Template{Run: t.Run, Resources: t.Resources, Limits: t.Limits, Grace: t.Grace}
	if _, ok := out.Resources.Lookup(sdk.CPUs); !ok {
		out.Resources = out.Resources.With(sdk.CPUs, DefaultCPUs)
	}
	if _, ok := out.Resources.Lookup(sdk.Mem); !ok {
		out.Resources = out.Resources.With(sdk.Mem, DefaultMem)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Env)) {
		out.Env = append(out.Env, sdk.EnvVar{Name: name, Value: t.Env[name]})
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

// After returns how long to wait after a failure that n others came before:
// First × Factor^n, at most Max, in whole milliseconds rounded down. A nil
// Backoff has the defaults: 1s × 1.15^n, at most 5m. A factor below 1 counts
// as 1, so that waiting never becomes hot retrying.
func (b *Backoff) After(n int) sdk.Duration {
	first, factor, limit := sdk.Duration(sdk.Second), Fraction(1150), 5*sdk.Duration(sdk.Minute)
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
