package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/conformance/guests"
	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/plugins/binpack/pack"
	"github.com/drupe-os/drupe/plugins/drf/fair"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// roundTasks is how many tasks one measured round places: 100 documents of 20
// roles, 100 instances each.
const roundTasks = 10_000

// benchRound compares one source of a policy compiled natively and as Wasm, in
// one round over the kernel's own state and index.
func benchRound(r *run) ([]figure, error) {
	store, plugins, err := guests.Open(r, "drf", "binpack", "service")
	if err != nil {
		return nil, err
	}
	defer store.Close(r)
	natives := []policy.Policy{fair.New(), pack.New()}
	sizes, repeat := []int{1_000, 10_000, 50_000}, 15
	if r.quick {
		sizes, repeat = sizes[1:2], 7
	}
	var out []figure
	for _, nodes := range sizes {
		state, err := crowd(nodes, plugins)
		if err != nil {
			return out, err
		}
		for i, native := range natives {
			guest, err := store.Policy(r, &plugins[i])
			if err != nil {
				return out, err
			}
			plain, boxed, err := compare(r, state, native, guest.Allocate, repeat)
			guest.Close(r)
			if err != nil {
				return out, err
			}
			aim := ""
			if nodes == 50_000 {
				aim = "Wasm ≤ 1.5× native (Go)"
			}
			out = append(out, figure{
				Name: fmt.Sprintf("%s, one round of %s tasks, %s nodes", plugins[i].Manifest.Name, thousands(roundTasks), thousands(nodes)),
				Aim:  aim,
				Measured: fmt.Sprintf("native %s (%s), Wasm %s (%s)", ms(plain.median()), perSecond(roundTasks, plain.median()),
					ms(boxed.median()), perSecond(roundTasks, boxed.median())),
				Ratio:  ratio(boxed.median(), plain.median()),
				Method: fmt.Sprintf("CPU time of the calling thread, in turns, median of %d; the index and its checks are in both", repeat),
			})
		}
	}
	return out, nil
}

// crowd is a state, made by entries as in production, of nodes in three sizes
// and of documents that all wait for a place.
func crowd(nodes int, plugins []sdk.Plugin) (*core.State, error) {
	s := core.New()
	index := uint64(0)
	apply := func(cmds ...core.Command) error {
		index++
		results, err := s.Apply(index, &core.Entry{Time: 1000, By: "bench", Commands: cmds})
		if err != nil {
			return err
		}
		s.TakeChanges()
		for _, r := range results {
			if r.Fault != nil {
				return r.Fault
			}
		}
		return nil
	}
	for i := range plugins {
		if err := apply(core.Command{Install: &core.InstallPlugin{Plugin: plugins[i]}}); err != nil {
			return nil, err
		}
	}
	if err := apply(core.Command{UsePolicy: &core.UsePolicy{Name: "drf"}}); err != nil {
		return nil, err
	}
	for i := range nodes {
		name := fmt.Sprintf("n%d", i)
		if err := apply(core.Command{Connect: &core.ConnectNode{Node: sdk.NodeID("id-" + name), Name: name, Machine: nodeMachine(i, name)}}); err != nil {
			return nil, err
		}
	}
	p, err := s.Plugin("service")
	if err != nil {
		return nil, err
	}
	c := core.FrameworkCommit{Plugin: "service", Generation: p.Generation}
	for i := range 100 {
		name := fmt.Sprintf("app-%d", i)
		c.Actions = append(c.Actions, sdk.Action{Demand: &sdk.Demand{
			Name: name, Ref: sdk.Ref{Kind: "service", Name: name}, Role: sdk.RolePath(fmt.Sprintf("bench/team-%d", i%20)), Count: roundTasks / 100,
			Resources: sdk.R(int64(100+i%7*50), int64(64+i%11*64)<<20),
			Template:  &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "oci:/images/app"}}}}})
	}
	return s, apply(core.Command{Framework: &c})
}

// nodeMachine is one of three sizes of machine, in 50 racks.
func nodeMachine(i int, name string) sdk.Machine {
	size := int64(1 + i%3)
	return sdk.Machine{
		Capacity:   sdk.R(size*8000, size*32<<30).With(sdk.Disk, 500<<30),
		Ports:      []sdk.Range{{First: 20000, Last: 29999}},
		Attributes: []sdk.Attribute{{Name: "os", Value: "linux"}, {Name: "rack", Value: fmt.Sprintf("r%d", i%50)}},
		Hostname:   name, Address: "127.0.0.1", Version: "bench",
	}
}

// compare runs rounds natively and in the sandbox in turns.
func compare(ctx context.Context, s *core.State, native policy.Policy,
	guest func(context.Context, *policy.Batch, policy.Index) error, repeat int) (plain, boxed sample, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	bare := func(_ context.Context, b *policy.Batch, ix policy.Index) error {
		native.Allocate(b, ix)
		return nil
	}
	for i := range repeat + 1 { // the first warms both up
		p, err := oneRound(ctx, s, bare)
		if err != nil {
			return nil, nil, err
		}
		w, err := oneRound(ctx, s, guest)
		if err != nil {
			return nil, nil, err
		}
		if i > 0 {
			plain, boxed = append(plain, p), append(boxed, w)
		}
	}
	return plain, boxed, nil
}

// oneRound makes one call of a policy and returns the CPU time it took.
func oneRound(ctx context.Context, s *core.State, allocate func(context.Context, *policy.Batch, policy.Index) error) (time.Duration, error) {
	r, _ := s.Round(roundTasks, nil)
	if r == nil {
		return 0, fmt.Errorf("nothing to place")
	}
	defer r.Close()
	begun := threadCPU()
	if err := allocate(ctx, &r.Batch, r); err != nil {
		return 0, err
	}
	took := threadCPU() - begun
	placed := uint32(0)
	for _, d := range r.Decisions {
		placed += d.Count
	}
	if placed != roundTasks {
		return 0, fmt.Errorf("placed %d of %d tasks", placed, roundTasks)
	}
	return took, nil
}

// threadCPU is the CPU time of this thread so far.
func threadCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
