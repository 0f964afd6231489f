package keeper

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/opencontainers/cgroups"

	"github.com/drupe-os/drupe/isolation/bundle"
)

// limiter finds out what of tasks this machine can limit. The cgroup is one of
// the keeper's own that is there; sys is where /sys is.
func limiter(state, sys string, cgroup map[string]string) bundle.Limiter {
	l := bundle.Limiter{Unified: cgroups.IsCgroup2UnifiedMode(), Rlimits: hardLimits()}
	there := func(controller, file string) bool {
		_, err := os.Stat(filepath.Join(folder(cgroup, controller), file))
		return err == nil && folder(cgroup, controller) != ""
	}
	if l.Unified {
		l.LimitsSwap = there("memory", "memory.swap.max")
		// Nothing written is all there is, but a cgroup with processes that has
		// had cores of its own cannot go back to nothing.
		l.AllCPUs = text(filepath.Join(folder(cgroup, "cpuset"), "cpuset.cpus.effective"))
		l.AllMems = text(filepath.Join(folder(cgroup, "cpuset"), "cpuset.mems.effective"))
	} else {
		l.LimitsSwap = there("memory", "memory.memsw.limit_in_bytes")
		l.AllCPUs = text(filepath.Join(cgroup["cpuset"], "cpuset.cpus"))
		l.AllMems = text(filepath.Join(cgroup["cpuset"], "cpuset.mems"))
	}
	l.Block, l.NoBlock = block(state, sys)
	if l.Block != "" && !there("blkio", throttleFile(l.Unified)) {
		l.Block, l.NoBlock = "", "the kernel has no controller for it"
	}
	l.IOWeight, l.NoIOWeight = weightFile(l, sys, there)
	sizes, _ := filepath.Glob(filepath.Join(sys, "kernel/mm/hugepages/hugepages-*kB"))
	for _, dir := range sizes {
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		if err == nil && hugetlb(there, l.Unified) {
			l.Hugepages = append(l.Hugepages, kb<<10)
		}
	}
	slices.Sort(l.Hugepages)
	return l
}

func throttleFile(unified bool) string {
	if unified {
		return "io.max"
	}
	return "blkio.throttle.read_bps_device"
}

func hugetlb(there func(controller, file string) bool, unified bool) bool {
	return unified && there("hugetlb", "hugetlb.2MB.max") || !unified && there("hugetlb", "hugetlb.2MB.limit_in_bytes")
}

// block returns the whole disk that a folder is on, or why there is none: the
// kernel limits traffic with disks, not with their partitions.
func block(dir, sys string) (dev, why string) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", fmt.Sprintf("the data folder: %v", err)
	}
	return disk(sys, unix.Major(st.Dev), unix.Minor(st.Dev))
}

func disk(sys string, major, minor uint32) (dev, why string) {
	if major == 0 {
		return "", "the node's data folder is on a file system that has no disk of its own, such as overlay, tmpfs or btrfs"
	}
	at, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", fmt.Sprintf("%d:%d", major, minor)))
	if err != nil {
		return "", fmt.Sprintf("the disk of the node's data folder is not to be found: %v", err)
	}
	if _, err := os.Stat(filepath.Join(at, "partition")); err == nil {
		at = filepath.Dir(at)
	}
	if dev = text(filepath.Join(at, "dev")); dev == "" {
		return "", fmt.Sprintf("the disk of the node's data folder is not to be found: %s has no number", at)
	}
	return dev, ""
}

// weightFile returns the file in which weights at the disk are set, where they
// have an effect.
func weightFile(l bundle.Limiter, sys string, there func(controller, file string) bool) (file, why string) {
	if l.Block == "" {
		return "", l.NoBlock
	}
	scheduler := text(filepath.Join(sys, "dev/block", l.Block, "queue/scheduler"))
	bfq := "blkio.bfq.weight"
	if l.Unified {
		bfq = "io.bfq.weight"
	}
	if strings.Contains(scheduler, "[bfq]") && there("blkio", bfq) {
		return bfq, ""
	}
	// Of version 2's own weights the kernel takes notice when a cost model is
	// turned on for the disk.
	if qos := filepath.Join(sys, "fs/cgroup/io.cost.qos"); l.Unified && there("blkio", "io.weight") &&
		strings.Contains(text(qos), l.Block+" enable=1") {
		return "io.weight", ""
	}
	return "", fmt.Sprintf("the scheduler of disk %s is %s", l.Block, scheduler)
}

// hardLimits returns the greatest rlimits that can be given to a task: none
// beyond the keeper's own, unless it may raise them.
func hardLimits() map[string]uint64 {
	most := map[string]uint64{}
	if ownCapabilities()["SYS_RESOURCE"] {
		// Even then there is an end to open files.
		if n := number("/proc/sys/fs/nr_open"); n > 0 {
			most["nofile"] = uint64(n)
		}
		return most
	}
	for name, number := range bundle.RlimitNumbers {
		var r unix.Rlimit
		if unix.Prlimit(0, number, nil, &r) == nil && r.Max != math.MaxUint64 {
			most[name] = r.Max
		}
	}
	return most
}

func text(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}
