package keeper

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// cgroupPaths returns the folders of a cgroup, by controller: several on v1,
// one named "" on v2.
func cgroupPaths(name string) (map[string]string, error) {
	m, err := manager.New(&cgroups.Cgroup{Path: name, Resources: &cgroups.Resources{}})
	if err != nil {
		return nil, err
	}
	return m.GetPaths(), nil
}

// limitsSwap reports whether memory limits can cover swap. Version 2 ignores a
// limit that it cannot set.
func limitsSwap(parent map[string]string) bool {
	if cgroups.IsCgroup2UnifiedMode() {
		return true
	}
	for dir := parent["memory"]; len(dir) > 1; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "memory.memsw.limit_in_bytes")); err == nil {
			return true
		}
		if _, err := os.Stat(filepath.Join(dir, "memory.limit_in_bytes")); err == nil {
			return false
		}
	}
	return false
}

// count fills in what the kernel counted for the container. It has to be read
// before the cgroup is removed.
func count(paths map[string]string, e *isolation.Exit) {
	dir := func(controller string) string {
		if p, ok := paths[controller]; ok {
			return p
		}
		return paths[""]
	}
	memory, pids := dir("memory"), dir("pids")
	if _, v1 := paths["memory"]; v1 {
		e.OOM = keyed(filepath.Join(memory, "memory.oom_control"), "oom_kill") > 0
		e.Peak = number(filepath.Join(memory, "memory.max_usage_in_bytes"))
	} else {
		e.OOM = keyed(filepath.Join(memory, "memory.events"), "oom_kill") > 0
		e.Peak = number(filepath.Join(memory, "memory.peak"))
	}
	e.PidsHit = keyed(filepath.Join(pids, "pids.events"), "max") > 0
}

// usage reads what the container has used.
func usage(paths map[string]string) sdk.Usage {
	if dir, v1 := paths["memory"]; v1 {
		return sdk.Usage{
			CPU:  sdk.Duration(number(filepath.Join(paths["cpuacct"], "cpuacct.usage")) / 1e6),
			Mem:  number(filepath.Join(dir, "memory.usage_in_bytes")),
			Pids: number(filepath.Join(paths["pids"], "pids.current")),
		}
	}
	dir := paths[""]
	return sdk.Usage{
		CPU:  sdk.Duration(keyed(filepath.Join(dir, "cpu.stat"), "usage_usec") / 1e3),
		Mem:  number(filepath.Join(dir, "memory.current")),
		Pids: number(filepath.Join(dir, "pids.current")),
	}
}

func number(path string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

func keyed(path, key string) int64 {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok && k == key {
			n, _ := strconv.ParseInt(v, 10, 64)
			return n
		}
	}
	return 0
}

// killCgroup kills whatever is left in a cgroup.
func killCgroup(paths map[string]string) {
	for _, dir := range paths {
		pids, err := cgroups.GetAllPids(dir)
		if err != nil {
			continue
		}
		for _, pid := range pids {
			if p, err := os.FindProcess(pid); err == nil {
				p.Kill()
			}
		}
	}
}

// removeCgroups removes folders that no process is in any more.
func removeCgroups(paths map[string]string) error {
	var errs []error
	for _, dir := range paths {
		if err := cgroups.RemovePath(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
