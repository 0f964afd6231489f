package offer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// gpu is a device of a node: "a0@g" is healthy, in the linked group g; a
// leading ! makes it ill, ~ shared; "b:R" is of resource R.
func gpu(text string) sdk.Device {
	d := sdk.Device{Kind: "gpu", Resource: sdk.GPUs, Healthy: true, NUMA: -1}
	if t, ok := strings.CutPrefix(text, "!"); ok {
		text, d.Healthy, d.Detail = t, false, "XID 79"
	}
	if t, ok := strings.CutPrefix(text, "~"); ok {
		text, d.Shared, d.Resource = t, true, "gpus-shared"
	}
	text, numa, ok := strings.Cut(text, "/")
	if ok {
		d.NUMA = int32(numa[0] - '0')
	}
	text, d.Group, _ = strings.Cut(text, "@")
	d.ID, d.Resource, _ = strings.Cut(text+":"+d.Resource, ":")
	d.Resource, _, _ = strings.Cut(d.Resource, ":")
	return d
}

// equipped is a node with devices.
func equipped(name, devices string) sdk.Node {
	n := machine(name)
	n.Machine.Capacity = n.Machine.Capacity.With(sdk.GPUs, 0)
	for _, f := range strings.Fields(devices) {
		n.Machine.Devices = append(n.Machine.Devices, gpu(f))
	}
	n.Machine.Capacity = Capacity(&n.Machine)
	return n
}

// tiny is a demand of nothing but devices.
func tiny(more ...sdk.Quantity) sdk.Demand {
	d := wanted(more...)
	d.Resources = d.Resources.With(sdk.CPUs, 1).With(sdk.Mem, 1)
	return d
}

// TestWhichDevices places one demand after another on one node and looks at
// which devices each is given.
func TestWhichDevices(t *testing.T) {
	for name, k := range map[string]struct {
		devices string
		asks    string // "2" of gpus, "0.5s" of gpus-shared, "1r" of resource r
		gets    string // IDs joined by +, or "-"
	}{
		"in order":                          {"a b c", "1 1 1 1", "a b c -"},
		"ill ones are passed over":          {"a !b c", "1 1 1", "a c -"},
		"one linked group":                  {"a b@x c@x", "2 1", "b+c a"},
		"the smallest group that does":      {"a@x b@x c@x d@x e@y f@y", "2 2 2", "e+f a+b c+d"},
		"a single one breaks up no group":   {"a@x b@x c", "1 2", "c a+b"},
		"groups too small: the large first": {"a@x b@y c@y d@z e@z f@z", "4", "d+e+f+b"},
		"no group: the same NUMA node":      {"a/0 b/1 c/1 d/0 e/0", "2 3", "b+c a+d+e"},
		"in a group, the same NUMA node":    {"a@x/0 b@x/1 c@x/1 d@x/0 e@x/1", "2", "a+d"},
		"parts of one device":               {"~a ~b", "0.5s 0.25s 0.5s 0.25s 0.5s", "a a b a b"},
		"a part of two is none":             {"~a ~b", "0.75s 0.75s 0.5s", "a b -"},
		"whole shared ones":                 {"~a ~b", "0.25s 1s 1s", "a b -"},
		"no part of what is not shared":     {"a b", "0.5 1.5", "- -"},
		"one and a half is nothing":         {"~a ~b ~c", "1.5s", "-"},
		"partitions":                        {"m0:mig-1g m1:mig-1g g:gpus", "1mig-1g 1mig-1g 1mig-1g 1", "m0 m1 - g"},
		"two kinds at once stay apart":      {"~a b", "1 1s", "b a"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			row := c.add(equipped("n0", k.devices))
			var got []string
			for _, ask := range strings.Fields(k.asks) {
				resource := strings.TrimLeft(ask, "0123456789.")
				amount := parse(sdk.GPUs, strings.TrimSuffix(ask, resource))
				switch resource {
				case "":
					resource = sdk.GPUs
				case "s":
					resource = "gpus-shared"
				}
				p, why := c.Place(row, c.shape(tiny(q(resource, amount))))
				var ids []string
				for _, d := range p.Devices {
					if d.Resource != resource || int64(d.Share) != min(amount, 1000) {
						t.Errorf("%s gave %+v", ask, d)
					}
					ids = append(ids, d.ID)
				}
				if why != sdk.ReasonNone {
					ids = []string{"-"}
				}
				got = append(got, strings.Join(ids, "+"))
			}
			if s := strings.Join(got, " "); s != k.gets {
				t.Errorf("%s for %s gives %s, want %s", k.asks, k.devices, s, k.gets)
			}
		})
	}
}

// A partition of a device that is given out itself, or that is ill, is not to
// be had, and the other way round.
func TestPartitionsAndTheirDevice(t *testing.T) {
	c := newCluster()
	n := equipped("n0", "g m:mig h n:mig")
	n.Machine.Devices[1].Parent, n.Machine.Devices[3].Parent = "g", "h"
	row := c.add(n)
	mig, one := c.shape(tiny(q("mig", 1000))), c.shape(tiny(q(sdk.GPUs, 1000)))
	p, why := c.Place(row, mig)
	if why != sdk.ReasonNone || p.Devices[0].ID != "m" {
		t.Fatal(p, why)
	}
	if w, why := c.Place(row, one); why != sdk.ReasonNone || w.Devices[0].ID != "h" {
		t.Error(w, why)
	}
	if p, why := c.Place(row, one); why != sdk.ReasonDevices {
		t.Error("the device of a partition in use:", p, why)
	}
	if p, why := c.Place(row, mig); why != sdk.ReasonDevices {
		t.Error("a partition of a device in use:", p, why)
	}
	m := c.Node(row).Machine
	m.Devices[0].Healthy = false
	if got := Capacity(&m); got.Get("mig") != 1000 || got.Get(sdk.GPUs) != 1000 {
		t.Errorf("capacity %v", got)
	}
	if s := Ill(&m, &p.Devices[0]); s != "m is part of g, which is not well" {
		t.Error(s)
	}
}

// TestDevicesAlwaysAddUp proves over random histories: what is said to fit is
// placed, no device is given out beyond the whole, a task has exactly what it
// asked for, and what is given back can be had again, also of devices that were
// away meanwhile.
func TestDevicesAlwaysAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster()
		var list []string
		for i := range rapid.IntRange(1, 8).Draw(t, "devices") {
			list = append(list, rapid.SampledFrom([]string{"", "", "~", "!"}).Draw(t, "kind")+fmt.Sprintf("d%d", i)+
				rapid.SampledFrom([]string{"", "@x", "@y"}).Draw(t, "group"))
		}
		n := equipped("n0", strings.Join(list, " "))
		row := c.add(n)
		var live []Placed
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1, 2:
				r := rapid.SampledFrom([]string{sdk.GPUs, "gpus-shared"}).Draw(t, "resource")
				v := rapid.SampledFrom([]int64{250, 500, 1000, 1500, 2000, 3000}).Draw(t, "amount")
				s := c.shape(tiny(q(r, v)))
				round := c.NewRound([]Open{{Shape: s, Count: 1}}, 0, 10)
				k, said := round.Place(0, 1, policy.Pack)
				round.Close()
				p, why := c.Place(row, s)
				if (k == 1) != (why == sdk.ReasonNone) || k == 0 && said != why {
					t.Fatalf("%d of %s: a round says %s, placing %s", v, r, said, why)
				}
				if why == sdk.ReasonNone {
					live = append(live, p)
				}
			case 3:
				if len(live) > 0 {
					i := rapid.IntRange(0, len(live)-1).Draw(t, "task")
					c.Release(sdk.Ref{Kind: "k", Name: "s"}, &live[i])
					live = slices.Delete(live, i, i+1)
				}
			case 4: // a device falls ill, or goes, or returns
				next := n.Machine
				next.Devices = slices.Clone(n.Machine.Devices)
				i := rapid.IntRange(0, len(next.Devices)-1).Draw(t, "device")
				if next.Devices[i].Healthy = rapid.Bool().Draw(t, "well"); !next.Devices[i].Healthy && rapid.Bool().Draw(t, "gone") {
					next.Devices = slices.Delete(next.Devices, i, i+1)
				}
				next.Capacity = machine("").Machine.Capacity.With(sdk.GPUs, 0)
				next.Capacity = Capacity(&next)
				c.Node(row).Machine = next
				c.NodeChanged(row)
				c.Ledger().SetCapacity(row, c.Ledger().Vector(next.Capacity, c.PoolSize(row)))
			}
			held := map[string]sdk.Milli{}
			for _, p := range live {
				sums := map[string]int64{}
				for _, d := range p.Devices {
					sums[d.Resource] += int64(d.Share)
					if held[d.ID] += d.Share; held[d.ID] > 1000 {
						t.Fatalf("%d of device %s are given out", held[d.ID], d.ID)
					}
				}
				for _, r := range []string{sdk.GPUs, "gpus-shared"} {
					if want := c.Ledger().Resources(p.Grant.Amount).Get(r); sums[r] != want {
						t.Fatalf("%d of %s are bound, %d charged", sums[r], r, want)
					}
				}
			}
		}
		for i := range live {
			c.Release(sdk.Ref{Kind: "k", Name: "s"}, &live[i])
		}
		if set := c.nodes[row].devices; set != nil && len(set.held) != 0 {
			t.Fatalf("all is given back, and still held: %v", set.held)
		}
	})
}

// TestDevicesExplained holds the words in which a lack of devices is explained.
func TestDevicesExplained(t *testing.T) {
	for name, k := range map[string]struct {
		devices string
		taken   []sdk.Quantity
		ask     sdk.Quantity
		reason  sdk.Reason
		detail  string
		fixes   string
	}{
		"ill": {"a b !c", nil, q(sdk.GPUs, 3000), sdk.ReasonDevices, "3 gpus are free but only 2 are well (c is not well: XID 79)",
			"ask for at most 2 gpus; mend gpu of node n0: c is not well: XID 79"},
		"ill and in use": {"a b !c", []sdk.Quantity{q(sdk.GPUs, 1000)}, q(sdk.GPUs, 2000), sdk.ReasonDevices,
			"2 gpus are free but only 1 are well (c is not well: XID 79)", "ask for at most 1 gpus; mend gpu of node n0: c is not well: XID 79"},
		"too few": {"a b !c", nil, q(sdk.GPUs, 4000), sdk.ReasonGPUs, "", "ask for at most 2 gpus"},
		"a part of a whole one": {"a b", nil, q(sdk.GPUs, 250), sdk.ReasonDevices,
			"part of a device can be had of shared ones only, and no device of its gpus is shared", "ask for 1 gpus: they are given out whole"},
		"a part of a whole one, and there is a shared one": {"a ~b", nil, q(sdk.GPUs, 250), sdk.ReasonDevices,
			"part of a device can be had of shared ones only, and no device of its gpus is shared",
			"ask for 1 gpus: they are given out whole; ask for 0.25 gpus-shared instead of gpus"},
		"in pieces": {"~a ~b", []sdk.Quantity{q("gpus-shared", 750), q("gpus-shared", 500)}, q("gpus-shared", 750), sdk.ReasonDevices,
			"0.75 gpus-shared are free in sum, but no more than 0.5 on one device", "ask for at most 0.5 gpus-shared"},
		"not whole any more": {"~a ~b ~c", []sdk.Quantity{q("gpus-shared", 500), q("gpus-shared", 750)}, q("gpus-shared", 1000), sdk.ReasonNone, "", ""},
		"none whole": {"~a ~b", []sdk.Quantity{q("gpus-shared", 500), q("gpus-shared", 501)}, q("gpus-shared", 999), sdk.ReasonDevices,
			"0.999 gpus-shared are free in sum, but no more than 0.5 on one device", "ask for at most 0.5 gpus-shared"},
		"whole, in pieces": {"~a ~b", []sdk.Quantity{q("gpus-shared", 500), q("gpus-shared", 500)}, q("gpus-shared", 1000), sdk.ReasonNone, "", ""},
		"one and a half": {"~a ~b", nil, q("gpus-shared", 1500), sdk.ReasonDevices, "1.5 gpus-shared are neither whole devices nor a part of one",
			"ask for at most 1 gpus-shared; ask for 2 gpus-shared: they are given out whole"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster()
			row := c.add(equipped("n0", k.devices))
			for _, x := range k.taken {
				if why := c.place(row, c.shape(tiny(x))); why != sdk.ReasonNone {
					t.Fatal(why)
				}
			}
			w := c.Explain(c.shape(tiny(k.ask)), 1, sdk.ReasonNotConsidered)
			if k.reason == sdk.ReasonNone {
				if len(w.Nodes) != 0 {
					t.Fatalf("lacks %+v", w.Nodes[0].Lacks)
				}
				return
			}
			if len(w.Nodes) != 1 || len(w.Nodes[0].Lacks) != 1 {
				t.Fatalf("%+v", w)
			}
			if l := w.Nodes[0].Lacks[0]; l.Reason != k.reason || l.Detail != k.detail || l.Short > 0 && l.Need-l.Free != l.Short {
				t.Errorf("%+v", l)
			}
			var said []string
			for _, f := range w.Fixes {
				said = append(said, f.Message)
				if name, ok := strings.CutPrefix(f.Field, "resources."); ok {
					d := tiny(k.ask)
					d.Resources = d.Resources.With(k.ask.Name, 0).With(name, parse(name, f.Value))
					if _, why := c.Place(row, c.shape(d)); why != sdk.ReasonNone {
						t.Errorf("%s does not help: %s", f.Message, why)
					}
				}
				if f.Field != "" {
					c = newCluster() // each remedy by itself
					row = c.add(equipped("n0", k.devices))
					for _, x := range k.taken {
						c.place(row, c.shape(tiny(x)))
					}
				}
			}
			if s := strings.Join(said, "; "); s != k.fixes {
				t.Errorf("fixes %q", s)
			}
		})
	}
}

// Offers hold no more of devices than could be given out.
func TestOffersOfDevices(t *testing.T) {
	c := newCluster()
	row := c.add(equipped("n0", "~a ~b c d"))
	if why := c.place(row, c.shape(tiny(q("gpus-shared", 500)))); why != sdk.ReasonNone {
		t.Fatal(why)
	}
	d := tiny(q(sdk.GPUs, 1000))
	d.Template = nil
	s := c.shape(d)
	dims := c.Ledger().Dims()
	r := c.NewRound([]Open{{Shape: s, Count: 1}}, 0, 10)
	out, reserved := make([]int64, len(dims)), make([]int64, len(dims))
	if why := r.Allocatable(0, uint32(row), out, reserved); why != sdk.ReasonNone {
		t.Fatal(why)
	}
	r.Close()
	shared := slices.Index(dims, "gpus-shared")
	if out[account.DimGPUs] != 2000 || out[shared] != 1000 {
		t.Errorf("allocatable: %d gpus, %d shared", out[account.DimGPUs], out[shared])
	}
	amount := account.Vector(slices.Clone(out))
	amount[shared] = 1500
	if _, why := c.Offer(row, s, amount, 0); why != sdk.ReasonDevices {
		t.Errorf("an offer of one and a half device: %s", why)
	}
	if _, why := c.Offer(row, s, out, 0); why != sdk.ReasonNone {
		t.Errorf("an offer of what is allocatable: %s", why)
	}
}

// A constraint on what kind of device a node has explains itself.
func TestDeviceConstraintExplained(t *testing.T) {
	c := newCluster()
	n := equipped("n0", "a b")
	n.Machine.Attributes = []sdk.Attribute{{Name: "gpu.model", Value: "NVIDIA A100"}}
	c.add(n)
	c.add(machine("n1"))
	d := with(tiny(q(sdk.GPUs, 1000)), sdk.Constraint{Attribute: "gpu.model", Operator: sdk.OpIs, Value: "NVIDIA H100"})
	w := c.Explain(c.shape(d), 1, sdk.ReasonNotConsidered)
	var said []string
	for _, n := range w.Nodes {
		for _, l := range n.Lacks {
			said = append(said, n.Name+": "+l.Detail)
		}
	}
	for _, f := range w.Fixes {
		said = append(said, f.Message)
	}
	if s := strings.Join(said, "; "); s != "n0: gpu.model is NVIDIA H100: the node has NVIDIA A100; n1: gpu.model is NVIDIA H100: the node has no gpu.model; "+
		"drop the constraint gpu.model is NVIDIA H100" {
		t.Error(s)
	}
}
