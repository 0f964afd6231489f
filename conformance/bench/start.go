package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/drupe-os/drupe/isolation"
	runtimes "github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
)

// architecture is what programs built here are for.
const architecture = runtime.GOARCH

// benchStart compares the whole life of a container that ends at once with that
// of a process, and with plain runc: by the clock and in CPU time.
func benchStart(r *run) ([]figure, error) {
	n := 40
	if r.quick {
		n = 15
	}
	v, err := r.rival("/bin/hello", "-once")
	if err != nil {
		return nil, err
	}
	layer, err := r.hello()
	if err != nil {
		return nil, err
	}
	keeper, err := os.ReadFile(filepath.Join(r.root, "bin", "drupe-keeper"))
	if err != nil {
		return nil, err
	}
	state := filepath.Join(r.scratch, "keeper")
	rt, err := runtimes.Open(r, runtimes.Config{StateDir: state, Keeper: keeper, DieWith: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		rt.Shutdown(ctx)
	}()
	exits, err := rt.Exits(r)
	if err != nil {
		return nil, err
	}
	pid := keeperOf(state)
	var bare, whole, warm, plain sample
	var bareCPU, plainCPU, ours time.Duration
	for i := range n + 1 {
		wall, cpu, err := timed(r, nil, filepath.Join(layer, "bin/hello"), "-once")
		if err != nil {
			return nil, err
		}
		before := cpuOf(pid) + ownCPU()
		w, started, err := life(r, rt, exits, &isolation.Spec{ID: sdk.TaskID(fmt.Sprint("b", i)), LogDir: filepath.Join(r.scratch, "logs", fmt.Sprint(i)),
			Program: isolation.Program{Layers: []string{layer}, Args: []string{"/bin/hello", "-once"}, Env: []string{"PATH=/bin"}},
			Limits:  isolation.Limits{CPUWeight: 100, Memory: 64 << 20}})
		if err != nil {
			return nil, err
		}
		used := cpuOf(pid) + ownCPU() - before
		runcWall, runcCPU, err := timed(r, nil, v.program, "--root", v.root, "run", "--bundle", v.bundle, fmt.Sprintf("drupe-bench-%d-%d", os.Getpid(), i))
		if err != nil {
			return nil, err
		}
		if i > 0 {
			bare, whole, warm, plain = append(bare, wall), append(whole, w), append(warm, started), append(plain, runcWall)
			bareCPU, ours, plainCPU = bareCPU+cpu, ours+used, plainCPU+runcCPU
		}
	}
	each := func(d time.Duration) string { return ms(d / time.Duration(n)) }
	return []figure{
		{"container: create, start, exit seen, remove; clock", "", whole.String(), ratio(whole.median(), bare.median()) + " fork/exec, " + ratio(whole.median(), plain.median()) + " runc run", "isolation/runc and its keeper, in turns with the two below"},
		{"the same; CPU, keeper and caller", "≤ half of runc run", each(ours), ratio(ours, bareCPU) + " fork/exec, " + ratio(ours, plainCPU) + " runc run", "processor time of keeper, its reaped children and this process; 10 ms steps, mean of all"},
		{"the part from start to exit seen (created ahead)", "about 2 ms", warm.String(), ratio(warm.median(), bare.median()) + " fork/exec", "what a container from a warm pool would cost"},
		{"plain runc run, clock", "", plain.String(), "", "until it returns"},
		{"plain runc run, CPU", "", each(plainCPU), "", "of runc and all it waited for, mean"},
		{"fork, exec, wait of the same program", "", bare.String() + "; CPU " + each(bareCPU), "", "os/exec"},
	}, nil
}

// life takes a container through its whole life.
func life(ctx context.Context, rt *runtimes.Client, exits <-chan sdk.TaskID, s *isolation.Spec) (whole, started time.Duration, err error) {
	begun := time.Now()
	if err := rt.Create(ctx, s); err != nil {
		return 0, 0, err
	}
	created := time.Now()
	if err := rt.Start(ctx, s.ID); err != nil {
		return 0, 0, err
	}
	select {
	case <-exits:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	started = time.Since(created)
	if err := rt.Remove(ctx, s.ID); err != nil {
		return 0, 0, err
	}
	return time.Since(begun), started, nil
}

// keeperOf returns the process id of a state folder's keeper, 0 for none.
func keeperOf(state string) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range dirs {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if args := strings.Split(string(b), "\x00"); len(args) > 2 && args[0] == "drupe-keeper" && args[2] == state {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			return pid
		}
	}
	return 0
}
