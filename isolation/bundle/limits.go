package bundle

import (
	"fmt"
	"math"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// Limiter is what of tasks a machine can limit, and how.
type Limiter struct {
	// Unified: the machine has cgroup v2.
	Unified bool
	// LimitsSwap: the memory controller can limit swap.
	LimitsSwap bool
	// AllCPUs and AllMems are the cores and NUMA nodes of a task that is not
	// bound to any, as in "0-3".
	AllCPUs, AllMems string
	// Block is the disk under the node's data folder, as "254:0". "": there is
	// none whose traffic can be limited, and NoBlock says why.
	Block, NoBlock string
	// IOWeight is the file for a task's weight at the disk. "": the disk does
	// not know weights, and NoIOWeight says why.
	IOWeight, NoIOWeight string
	// Hugepages are the sizes of pages that can be limited, in bytes.
	Hugepages []int64
	// Rlimits are the greatest hard limits that can be given, by name as in
	// "nofile"; those that are not listed are unbounded.
	Rlimits map[string]uint64
}

// Setting is one value in a task's cgroup.
type Setting struct {
	Controller string // of cgroup v1; on v2 all have one folder
	File       string
	Value      string
	// Fresh: a new cgroup has this value already, if it has the file at all.
	Fresh bool
}

// DefaultPids is how many processes a task may have that says nothing.
const DefaultPids = 1024

// The period of the CPU quota in microseconds, the least quota in it that the
// kernel takes, and the weight at the disk of who says nothing.
const (
	period          = 100_000
	minQuota        = 1000
	defaultIOWeight = 100
)

// Settings returns what the limits of a task, or of one program of it, are in
// the files of its cgroup on the machine. All there is to limit is among them,
// so that whatever was set before is not any more. Those that depend on each
// other do so in an order that changes with their values: what the kernel does
// not take is to be tried again after the others. Errors: *isolation.Error of
// ReasonUnsupported for what was asked for and the machine cannot limit.
func Settings(id sdk.TaskID, l *isolation.Limits, h Limiter) ([]Setting, error) {
	if l.Swap > 0 && !h.LimitsSwap {
		return nil, unsupported(id, "the kernel of this node does not count swap",
			"start the kernel with swapaccount=1, or ask for no swap", "its swap cannot be limited to %s", sdk.FormatBytes(l.Swap))
	}
	pids := l.Pids
	if pids <= 0 {
		pids = DefaultPids
	}
	var list []Setting
	set := func(controller, file, value string, fresh bool) {
		list = append(list, Setting{controller, file, value, fresh})
	}
	set("pids", "pids.max", fmt.Sprint(pids), false)
	set("cpuset", "cpuset.cpus", or(l.CPUs, h.AllCPUs), l.CPUs == "")
	set("cpuset", "cpuset.mems", or(l.Mems, h.AllMems), l.Mems == "")
	if h.Unified {
		cpuV2(l, set)
		memoryV2(l, h, set)
	} else {
		cpuV1(l, set)
		memoryV1(l, h, set)
	}
	if err := io(id, l.IO, h, set); err != nil {
		return nil, err
	}
	if err := hugepages(id, l.Hugepages, h, set); err != nil {
		return nil, err
	}
	return list, nil
}

type setter func(controller, file, value string, fresh bool)

func cpuV1(l *isolation.Limits, set setter) {
	set("cpu", "cpu.shares", fmt.Sprint(min(max(l.CPUWeight*1024/1000, 2), 262_144)), false)
	set("cpu", "cpu.cfs_period_us", fmt.Sprint(period), true)
	if l.CPUQuota > 0 {
		set("cpu", "cpu.cfs_quota_us", fmt.Sprint(max(l.CPUQuota*period/1000, minQuota)), false)
	} else {
		set("cpu", "cpu.cfs_quota_us", "-1", true)
	}
}

func cpuV2(l *isolation.Limits, set setter) {
	// As it is: runc's conversion from shares is not linear.
	set("cpu", "cpu.weight", fmt.Sprint(min(max(l.CPUWeight/10, 1), 10_000)), false)
	if l.CPUQuota > 0 {
		set("cpu", "cpu.max", fmt.Sprint(max(l.CPUQuota*period/1000, minQuota), " ", period), false)
	} else {
		set("cpu", "cpu.max", fmt.Sprint("max ", period), true)
	}
}

func memoryV1(l *isolation.Limits, h Limiter, set setter) {
	limit, both := int64(-1), int64(-1)
	if l.Memory > 0 {
		limit, both = l.Memory, l.Memory+l.Swap
	}
	set("memory", "memory.limit_in_bytes", fmt.Sprint(limit), limit < 0)
	if h.LimitsSwap {
		// Memory and swap together. Who asked for no swap is, at its limit,
		// ended rather than slowed down by the disk.
		set("memory", "memory.memsw.limit_in_bytes", fmt.Sprint(both), both < 0)
	}
	keep := int64(-1)
	if l.Reservation > 0 {
		keep = reservation(l)
	}
	set("memory", "memory.soft_limit_in_bytes", fmt.Sprint(keep), keep < 0)
}

func memoryV2(l *isolation.Limits, h Limiter, set setter) {
	limit := "max"
	if l.Memory > 0 {
		limit = fmt.Sprint(l.Memory)
	}
	set("memory", "memory.max", limit, l.Memory <= 0)
	if h.LimitsSwap {
		swap := fmt.Sprint(l.Swap)
		if l.Memory <= 0 && l.Swap == 0 {
			swap = "max"
		}
		set("memory", "memory.swap.max", swap, swap == "max")
	}
	set("memory", "memory.low", fmt.Sprint(reservation(l)), l.Reservation <= 0)
}

func reservation(l *isolation.Limits) int64 {
	if l.Memory > 0 {
		return min(l.Reservation, l.Memory)
	}
	return l.Reservation
}

func io(id sdk.TaskID, l *sdk.IOLimits, h Limiter, set setter) error {
	fresh := l == nil || *l == sdk.IOLimits{Weight: l.Weight}
	asked := sdk.IOLimits{}
	if l != nil {
		asked = *l
	}
	if !fresh && h.Block == "" {
		return unsupported(id, h.NoBlock, "put the node's data folder on a disk, or ask for no limits of io",
			"its traffic with the disk cannot be limited")
	}
	if asked.Weight > 0 && h.IOWeight == "" {
		return unsupported(id, h.NoIOWeight, "leave io.weight out, or let the disk's scheduler be bfq",
			"its traffic with the disk cannot be weighed")
	}
	if h.IOWeight != "" {
		weight := asked.Weight
		if weight <= 0 {
			weight = defaultIOWeight
		}
		set("blkio", h.IOWeight, fmt.Sprint(weight), asked.Weight <= 0)
	}
	if h.Block == "" {
		return nil
	}
	if h.Unified {
		bound := func(v int64) string {
			if v <= 0 {
				return "max"
			}
			return strconv.FormatInt(v, 10)
		}
		set("blkio", "io.max", fmt.Sprintf("%s rbps=%s wbps=%s riops=%s wiops=%s", h.Block,
			bound(asked.ReadBytes), bound(asked.WriteBytes), bound(asked.ReadOps), bound(asked.WriteOps)), fresh)
		return nil
	}
	for _, t := range []struct {
		file  string
		value int64
	}{
		{"read_bps", asked.ReadBytes}, {"write_bps", asked.WriteBytes},
		{"read_iops", asked.ReadOps}, {"write_iops", asked.WriteOps},
	} {
		// 0 takes the bound away.
		set("blkio", "blkio.throttle."+t.file+"_device", fmt.Sprint(h.Block, " ", max(t.value, 0)), t.value <= 0)
	}
	return nil
}

func hugepages(id sdk.TaskID, list []sdk.Hugepages, h Limiter, set setter) error {
	limits := map[int64]int64{}
	for _, size := range h.Hugepages {
		limits[size] = 0 // what is not asked for is not to be had
	}
	for _, l := range list {
		if _, ok := limits[l.Size]; !ok {
			cause := "this node has no such pages"
			if len(h.Hugepages) == 0 {
				cause = "this node cannot limit them: it has no hugetlb controller"
			}
			return unsupported(id, cause, "leave hugepages out, or give the node a kernel that has both",
				"its huge pages of %s cannot be limited", sdk.FormatBytes(l.Size))
		}
		limits[l.Size] = l.Limit
	}
	file := "limit_in_bytes"
	if h.Unified {
		file = "max"
	}
	for _, size := range h.Hugepages {
		set("hugetlb", "hugetlb."+pageName(size)+"."+file, fmt.Sprint(limits[size]), false)
	}
	return nil
}

// pageName is the kernel's name for a size of pages: 64KB, 2MB, 1GB.
func pageName(size int64) string {
	switch {
	case size >= 1<<30:
		return fmt.Sprint(size>>30, "GB")
	case size >= 1<<20:
		return fmt.Sprint(size>>20, "MB")
	}
	return fmt.Sprint(size>>10, "KB")
}

// RlimitNumbers are the numbers of setrlimit's limits on Linux, by name.
var RlimitNumbers = map[string]int{
	"cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "rss": 5, "nproc": 6, "nofile": 7,
	"memlock": 8, "as": 9, "locks": 10, "sigpending": 11, "msgqueue": 12, "nice": 13, "rtprio": 14, "rttime": 15,
}

// Rlimits returns a task's rlimits as the machine can give them, with a note
// for each that is lower than was asked for. Errors: a fault of kind Invalid
// for names that are none.
func Rlimits(id sdk.TaskID, asked []sdk.Rlimit, h Limiter) (list []specs.POSIXRlimit, notes []string, err error) {
	for _, r := range asked {
		if _, ok := RlimitNumbers[r.Name]; !ok {
			return nil, nil, sdk.Errorf(sdk.Invalid, "task/"+string(id), "%q is no rlimit", r.Name).At("limits.rlimits").
				ToFix("write it as in \"nofile\", without RLIMIT_")
		}
		soft, hard := rlimit(r.Soft), rlimit(r.Hard)
		if most, bounded := h.Rlimits[r.Name]; bounded && hard > most {
			hard = most
			notes = append(notes, fmt.Sprintf("rlimit %s is %d instead of %s: this node may not give more", r.Name, most, rlimitText(r.Hard)))
		}
		list = append(list, specs.POSIXRlimit{Type: r.Name, Soft: min(soft, hard), Hard: hard})
	}
	return list, notes, nil
}

func rlimit(v int64) uint64 {
	if v < 0 {
		return math.MaxUint64
	}
	return uint64(v)
}

func rlimitText(v int64) string {
	if v < 0 {
		return "unlimited"
	}
	return strconv.FormatInt(v, 10)
}

// unsupported is the error for what this machine cannot limit.
func unsupported(id sdk.TaskID, cause, fix, format string, args ...any) error {
	return &isolation.Error{Reason: sdk.ReasonUnsupported,
		Err: sdk.Errorf(sdk.Unsupported, "task/"+string(id), format, args...).Because("%s", cause).ToFix("%s", fix)}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
