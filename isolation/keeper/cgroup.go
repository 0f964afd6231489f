package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
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

// makeCgroup makes a cgroup that no process is in yet.
func makeCgroup(name string) (map[string]string, error) {
	m, err := manager.New(&cgroups.Cgroup{Path: name, Resources: &cgroups.Resources{}})
	if err != nil {
		return nil, err
	}
	if err := m.Apply(-1); err != nil {
		return nil, fmt.Errorf("cgroup %s: %w", name, err)
	}
	return m.GetPaths(), nil
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
