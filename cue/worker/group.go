package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
)

// group is a memory cgroup that one worker runs in. A nil group does nothing.
type group struct{ dir string }

var groups atomic.Int64

// newGroup makes a group below parent, for version 2 or 1 of cgroups, whichever
// the folder belongs to.
func newGroup(parent string, memory int64) (*group, error) {
	g := &group{filepath.Join(parent, fmt.Sprintf("%s-%d-%d", Argument, os.Getpid(), groups.Add(1)))}
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return nil, err
	}
	limit := []byte(strconv.FormatInt(memory, 10))
	for _, file := range []string{"memory.max", "memory.limit_in_bytes"} {
		path := filepath.Join(g.dir, file)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := os.WriteFile(path, limit, 0o644); err != nil {
			g.remove()
			return nil, err
		}
		return g, nil
	}
	g.remove()
	return nil, fmt.Errorf("%s has no memory controller", parent)
}

// add moves a process into the group.
func (g *group) add(pid int) error {
	if g == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(g.dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// remove deletes the group once its process is gone.
func (g *group) remove() {
	if g != nil {
		_ = os.Remove(g.dir) // only fails when it is gone already
	}
}
