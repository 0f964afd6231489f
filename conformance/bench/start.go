package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// architecture is what programs built here are for.
const architecture = runtime.GOARCH

// benchStart compares the processor time of the whole life of a container that
// ends at once with that of a process, and with plain runc. The clock is
// benchNode's.
func benchStart(r *run) ([]figure, error) {
	n := 40
	if r.quick {
		n = 15
	}
	v, err := r.rival("/bin/hello", "-once")
	if err != nil {
		return nil, err
	}
	y, err := r.yard("start")
	if err != nil {
		return nil, err
	}
	defer y.close()
	var bare, plain, ours time.Duration
	for i := range n + 1 {
		_, cpu, err := timed(r, nil, filepath.Join(y.layer, "bin/hello"), "-once")
		if err != nil {
			return nil, err
		}
		before := cpuOf(y.keeper) + ownCPU()
		if _, _, _, err := y.life(y.spec("/bin/hello", "-once")); err != nil {
			return nil, err
		}
		used := cpuOf(y.keeper) + ownCPU() - before
		_, theirs, err := timed(r, nil, v.program, "--root", v.root, "run", "--bundle", v.bundle, fmt.Sprintf("drupe-bench-%d-%d", os.Getpid(), i))
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first of each fills caches
			bare, ours, plain = bare+cpu, ours+used, plain+theirs
		}
	}
	each := func(d time.Duration) string { return ms(d / time.Duration(n)) }
	return []figure{
		{"container: create, start, exit seen, remove; CPU, keeper and caller", "≤ half of runc run", each(ours), ratio(ours, bare) + " fork/exec, " + ratio(ours, plain) + " runc run", "processor time of keeper, its reaped children and this process; 10 ms steps, mean of all, in turns with the two below"},
		{"plain runc run, CPU", "", each(plain), "", "of runc and all it waited for, mean"},
		{"fork, exec, wait of the same program, CPU", "", each(bare), "", "os/exec, mean"},
	}, nil
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
