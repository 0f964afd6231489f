package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// keepers are the names under which the nodes of these tests put things on the
// machine: a cgroup and a folder in /run each.
var keepers struct {
	sync.Mutex
	names []string
}

// watchKeepers notes the state folders of nodes that lie in a data folder.
func watchKeepers(patterns ...string) {
	keepers.Lock()
	defer keepers.Unlock()
	for _, p := range patterns {
		folders, _ := filepath.Glob(p)
		for _, f := range folders {
			sum := sha256.Sum256([]byte(f))
			if name := "drupe-" + hex.EncodeToString(sum[:6]); !slices.Contains(keepers.names, name) {
				keepers.names = append(keepers.names, name)
			}
		}
	}
}

// leftovers lists what is on the machine that these tests brought there:
// processes, mounts, cgroups, folders.
func leftovers() (left []string) {
	keepers.Lock()
	names := append([]string{base + "/"}, keepers.names...)
	keepers.Unlock()
	ours := func(s string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.Contains(s, n) })
	}
	for _, pid := range processes(ours) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		left = append(left, fmt.Sprintf("process %d: %s", pid, strings.ReplaceAll(string(b), "\x00", " ")))
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if ours(line) {
			left = append(left, "mount "+strings.TrimSpace(line))
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && ours(path) {
			left = append(left, "cgroup "+path)
			return fs.SkipDir
		}
		return nil
	})
	for _, n := range names[1:] {
		if _, err := os.Stat("/run/" + n); err == nil {
			left = append(left, "folder /run/"+n)
		}
	}
	for _, pattern := range []string{"drupe-dev-*", "drupe-demo-*"} {
		folders, _ := filepath.Glob(filepath.Join(base, pattern))
		for _, f := range folders {
			left = append(left, "folder "+f)
		}
	}
	return left
}

// processes returns those of which the command line, the environment or the
// cgroups satisfy ours.
func processes(ours func(string) bool) (pids []int) {
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range list {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if pid == os.Getpid() || !alive(pid) {
			continue
		}
		for _, file := range []string{"cmdline", "environ", "cgroup"} {
			if b, _ := os.ReadFile(filepath.Join(dir, file)); ours(string(b)) {
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// alive reports whether a process exists and is no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}
