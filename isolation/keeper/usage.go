package keeper

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// folder is where a controller's files of a cgroup are: one folder for each on
// version 1, one for all on version 2.
func folder(paths map[string]string, controller string) string {
	if dir, ok := paths[controller]; ok {
		return dir
	}
	if _, v1 := paths["memory"]; v1 {
		return ""
	}
	return paths[""]
}

// count fills in what the kernel counted for the container. It has to be read
// before the cgroup is removed.
func count(paths map[string]string, e *isolation.Exit) {
	memory := folder(paths, "memory")
	if _, v1 := paths["memory"]; v1 {
		e.OOM = keyedSum(memory, "memory.oom_control", "oom_kill") > 0
		e.Peak = number(filepath.Join(memory, "memory.max_usage_in_bytes"))
	} else {
		e.OOM = keyed(filepath.Join(memory, "memory.events"), "oom_kill") > 0
		e.Peak = number(filepath.Join(memory, "memory.peak"))
	}
	e.PidsHit = keyedSum(folder(paths, "pids"), "pids.events", "max") > 0
}

// keyedSum adds up what is counted in a cgroup and in those below it, where the
// kernel counts for each by itself.
func keyedSum(dir, file, key string) int64 {
	sum := keyed(filepath.Join(dir, file), key)
	for _, sub := range below(dir) {
		sum += keyed(filepath.Join(sub, file), key)
	}
	return sum
}

// usage reads what the container has used.
func usage(paths map[string]string) sdk.Usage {
	memory := folder(paths, "memory")
	u := sdk.Usage{Pids: number(filepath.Join(folder(paths, "pids"), "pids.current"))}
	if _, v1 := paths["memory"]; v1 {
		u.CPU = sdk.Duration(number(filepath.Join(paths["cpuacct"], "cpuacct.usage")) / 1e6)
		u.Throttled = sdk.Duration(keyed(filepath.Join(paths["cpu"], "cpu.stat"), "throttled_time") / 1e6)
		u.Mem = number(filepath.Join(memory, "memory.usage_in_bytes"))
		u.MemPeak = number(filepath.Join(memory, "memory.max_usage_in_bytes"))
		if both := number(filepath.Join(memory, "memory.memsw.usage_in_bytes")); both > u.Mem {
			u.Swap = keyed(filepath.Join(memory, "memory.stat"), "total_swap")
		}
		u.ReadBytes, u.WriteBytes = trafficV1(filepath.Join(paths["blkio"], "blkio.throttle.io_service_bytes_recursive"))
		return u
	}
	u.CPU = sdk.Duration(keyed(filepath.Join(memory, "cpu.stat"), "usage_usec") / 1e3)
	u.Throttled = sdk.Duration(keyed(filepath.Join(memory, "cpu.stat"), "throttled_usec") / 1e3)
	u.Mem = number(filepath.Join(memory, "memory.current"))
	u.MemPeak = number(filepath.Join(memory, "memory.peak"))
	u.Swap = number(filepath.Join(memory, "memory.swap.current"))
	u.ReadBytes, u.WriteBytes = trafficV2(filepath.Join(memory, "io.stat"))
	return u
}

// memoryHeld is what the kernel cannot take back from a container by forgetting
// pages of files.
func memoryHeld(paths map[string]string) int64 {
	dir := folder(paths, "memory")
	stat := filepath.Join(dir, "memory.stat")
	if _, v1 := paths["memory"]; v1 {
		return keyed(stat, "total_rss") + keyed(stat, "total_shmem")
	}
	return keyed(stat, "anon") + keyed(stat, "shmem")
}

// loopMajor is the number of loop devices: what goes to one goes on to the disk
// that its file is on, and would be counted twice.
const loopMajor = "7:"

// trafficV1 adds up lines such as "254:0 Read 4096".
func trafficV1(path string) (read, write int64) {
	for line := range strings.Lines(text(path)) {
		f := strings.Fields(line)
		if len(f) != 3 || strings.HasPrefix(f[0], loopMajor) {
			continue
		}
		n, _ := strconv.ParseInt(f[2], 10, 64)
		switch f[1] {
		case "Read":
			read += n
		case "Write":
			write += n
		}
	}
	return read, write
}

// trafficV2 adds up lines such as "254:0 rbytes=4096 wbytes=0 rios=1".
func trafficV2(path string) (read, write int64) {
	for line := range strings.Lines(text(path)) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], loopMajor) {
			continue
		}
		for _, kv := range f[1:] {
			k, v, _ := strings.Cut(kv, "=")
			n, _ := strconv.ParseInt(v, 10, 64)
			switch k {
			case "rbytes":
				read += n
			case "wbytes":
				write += n
			}
		}
	}
	return read, write
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
