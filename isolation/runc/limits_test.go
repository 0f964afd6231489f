package runc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// The limits' conformance suite. It says nothing of cgroup versions but here,
// in what reads the kernel's own idea of a limit.

// cgroupOf returns the folder of a running container's cgroup, and whether that
// is version 2's only one.
func cgroupOf(t testing.TB, n *node, id sdk.TaskID, controller string) (dir string, unified bool) {
	t.Helper()
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", n.find(id).PID))
	if err != nil {
		t.Fatal(err)
	}
	two := ""
	for line := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if f[1] == controller {
			return filepath.Join("/sys/fs/cgroup", controller, f[2]), false
		}
		if f[1] == "" {
			two = f[2]
		}
	}
	return filepath.Join("/sys/fs/cgroup", two), true
}

// files of limits: version 1's controller and file, and version 2's file.
var limitFiles = map[string][3]string{
	"weight": {"cpu", "cpu.shares", "cpu.weight"},
	"quota":  {"cpu", "cpu.cfs_quota_us", "cpu.max"},
	"cores":  {"cpuset", "cpuset.cpus", "cpuset.cpus"},
	"memory": {"memory", "memory.limit_in_bytes", "memory.max"},
	"keeps":  {"memory", "memory.soft_limit_in_bytes", "memory.low"},
	"pids":   {"pids", "pids.max", "pids.max"},
	"swap":   {"memory", "memory.memsw.limit_in_bytes", "memory.swap.max"},
	"writes": {"blkio", "blkio.throttle.write_bps_device", "io.max"},
}

// effective reads a limit as the kernel has it.
func effective(t testing.TB, n *node, id sdk.TaskID, what string) string {
	t.Helper()
	f := limitFiles[what]
	dir, unified := cgroupOf(t, n, id, f[0])
	name := f[1]
	if unified {
		name = f[2]
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// expect is what the kernel must say of limits.
func expect(t testing.TB, n *node, id sdk.TaskID, want *isolation.Limits) {
	t.Helper()
	_, unified := cgroupOf(t, n, id, "memory")
	text := map[string]string{"pids": fmt.Sprint(want.Pids), "memory": fmt.Sprint(want.Memory), "keeps": fmt.Sprint(want.Reservation)}
	if unified {
		text["weight"] = fmt.Sprint(want.CPUWeight / 10)
		text["quota"] = "max 100000"
		if want.CPUQuota > 0 {
			text["quota"] = fmt.Sprint(want.CPUQuota*100, " 100000")
		}
	} else {
		text["weight"] = fmt.Sprint(want.CPUWeight * 1024 / 1000)
		text["quota"] = "-1"
		if want.CPUQuota > 0 {
			text["quota"] = fmt.Sprint(want.CPUQuota * 100)
		}
	}
	if want.CPUs != "" {
		text["cores"] = want.CPUs
	}
	for what, value := range text {
		if got := effective(t, n, id, what); got != value {
			t.Errorf("%s is %s, want %s", what, got, value)
		}
	}
}

func busy(n *node, id string, edit func(*isolation.Limits)) *isolation.Spec {
	s := n.spec(id, sh("while :; do :; done")...)
	edit(&s.Limits)
	return s
}

func sample(t testing.TB, n *node, id sdk.TaskID) sdk.Usage {
	t.Helper()
	list, err := n.Usage(n.ctx, id)
	if err != nil || len(list) != 1 {
		t.Fatalf("usage of %s: %v, %v", id, list, err)
	}
	return list[0]
}

// share measures which part of one core the containers use over a while.
func share(t testing.TB, n *node, while time.Duration, ids ...sdk.TaskID) (parts []float64) {
	t.Helper()
	var before []sdk.Usage
	for _, id := range ids {
		before = append(before, sample(t, n, id))
	}
	end := before[0].At.Add(sdk.Duration(while / time.Millisecond))
	n.until("the time to measure", func() bool { return sdk.Time(time.Now().UnixMilli()) >= end })
	for i, id := range ids {
		u := sample(t, n, id)
		parts = append(parts, float64(u.CPU-before[i].CPU)/float64(u.At-before[i].At))
	}
	return parts
}

func (n *node) kill(ids ...sdk.TaskID) {
	n.t.Helper()
	for _, id := range ids {
		n.Signal(n.ctx, id, 9, true)
		n.end(id)
		if err := n.Remove(n.ctx, id); err != nil {
			n.t.Error(err)
		}
	}
}

// What is asked for is what the kernel has, at the start and after each change.
func TestLimitsAreTheKernels(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("echo up; busybox sleep 100")...)
	s.Limits = isolation.Limits{CPUWeight: 500, CPUQuota: 250, CPUs: "0", Memory: 32 << 20, Reservation: 16 << 20, Pids: 16}
	n.begin(s)
	n.line(s, "up")
	expect(t, n, "a", &s.Limits)
	for _, l := range []isolation.Limits{
		{CPUWeight: 1000, CPUQuota: 1500, CPUs: "0", Memory: 64 << 20, Reservation: 64 << 20, Pids: 64},
		{CPUWeight: 250, CPUs: "0", Memory: 16 << 20, Reservation: 8 << 20, Pids: 8},
		s.Limits,
	} {
		if err := n.Update(n.ctx, "a", &l); err != nil {
			t.Fatal(err)
		}
		expect(t, n, "a", &l)
		if got := n.find("a").Limits; got.Memory != l.Memory || got.CPUQuota != l.CPUQuota {
			t.Errorf("it is told to have %+v, want %+v", got, l)
		}
	}
	// Without a limit it is as if it never had one.
	free := isolation.Limits{CPUWeight: 500, Memory: 0}
	if err := n.Update(n.ctx, "a", &free); err != nil {
		t.Fatal(err)
	}
	for what, limited := range map[string]string{"memory": fmt.Sprint(32 << 20), "cores": "0", "quota": "25000"} {
		if got := effective(t, n, "a", what); strings.HasPrefix(got+" ", limited+" ") {
			t.Errorf("%s is still %s", what, got)
		}
	}
	n.kill("a")
	if err := n.Update(n.ctx, "a", &free); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("change of what is gone: %v", err)
	}
}

// A change that cannot be made whole is not made at all, and a keeper that
// takes over knows of those that were.
func TestLimitsAllOrNothing(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("v=$(busybox head -c 20000000 /dev/zero | busybox tr '\\0' x); echo up; while :; do busybox sleep 1; done")...)
	s.Limits = isolation.Limits{CPUWeight: 500, CPUQuota: 500, Memory: 128 << 20, Reservation: 8 << 20, Pids: 16, CPUs: "0"}
	n.begin(s)
	n.line(s, "up")
	for name, l := range map[string]isolation.Limits{
		"less memory than it holds": {CPUWeight: 100, CPUQuota: 100, Memory: 8 << 20, Pids: 8, CPUs: "0"},
		"a core that is not there":  {CPUWeight: 100, CPUQuota: 100, Memory: 256 << 20, Pids: 8, CPUs: "4000"},
		"pages that are not there":  {CPUWeight: 100, Memory: 256 << 20, Pids: 8, Hugepages: []sdk.Hugepages{{Size: 3 << 20, Limit: 3 << 20}}},
	} {
		err := n.Update(n.ctx, "a", &l)
		if err == nil {
			t.Errorf("%s: was set", name)
		}
		t.Logf("%s: %v", name, err)
		if name == "less memory than it holds" && (sdk.KindOf(err) != sdk.Exhausted || !strings.Contains(err.Error(), "8Mi")) {
			t.Errorf("%s: %v, want exhausted with the limit", name, err)
		}
		expect(t, n, "a", &s.Limits)
	}
	// The first change for which the kernel itself refuses one part.
	l := isolation.Limits{CPUWeight: 700, CPUQuota: 700, Memory: 96 << 20, Reservation: 16 << 20, Pids: 32, CPUs: "0"}
	if err := n.Update(n.ctx, "a", &l); err != nil {
		t.Fatal(err)
	}
	n.crash()
	n.open()
	if got := n.find("a").Limits; got.CPUWeight != 700 || got.Memory != 96<<20 || got.Pids != 32 {
		t.Errorf("after a crash of the keeper: %+v", got)
	}
	expect(t, n, "a", &l)
	if err := n.Update(n.ctx, "a", &s.Limits); err != nil {
		t.Errorf("change by the new keeper: %v", err)
	}
	expect(t, n, "a", &s.Limits)
	n.kill("a")
}

func TestLimitsCPUQuota(t *testing.T) {
	n := newNode(t)
	n.begin(busy(n, "a", func(l *isolation.Limits) { l.CPUQuota = 200 }))
	if got := share(t, n, 2*time.Second, "a")[0]; got < 0.17 || got > 0.22 {
		t.Errorf("uses %.3f of a core, want 0.2", got)
	}
	if u := sample(t, n, "a"); u.Throttled <= 0 {
		t.Errorf("%+v: was never held back", u)
	}
	l := n.find("a").Limits
	l.CPUQuota = 50
	if err := n.Update(n.ctx, "a", &l); err != nil {
		t.Fatal(err)
	}
	if got := share(t, n, 2*time.Second, "a")[0]; got < 0.04 || got > 0.065 {
		t.Errorf("after the change it uses %.3f of a core, want 0.05", got)
	}
	n.kill("a")
}

func TestLimitsCPUWeight(t *testing.T) {
	n := newNode(t)
	for id, weight := range map[string]int64{"heavy": 1000, "light": 250} {
		n.begin(busy(n, id, func(l *isolation.Limits) { l.CPUWeight, l.CPUs = weight, "0" }))
	}
	s := share(t, n, 3*time.Second, "heavy", "light")
	if ratio := s[0] / s[1]; ratio < 3.2 || ratio > 5 {
		t.Errorf("heavy %.3f, light %.3f: ratio %.2f, want 4", s[0], s[1], ratio)
	}
	n.kill("heavy", "light")
}

func TestLimitsCores(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("busybox grep Cpus_allowed_list /proc/self/status; busybox nproc; trap 'busybox nproc' USR1; while :; do busybox sleep 0.02; done")...)
	s.Limits.CPUs = "0"
	n.begin(s)
	n.line(s, "Cpus_allowed_list:\t0\n1\n")
	l := s.Limits
	l.CPUs = ""
	if err := n.Update(n.ctx, "a", &l); err != nil {
		t.Fatal(err)
	}
	n.Signal(n.ctx, "a", 10, false)
	if cores, _ := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*"); len(cores) > 1 {
		n.line(s, fmt.Sprintf("\n1\n%d\n", len(cores)))
	}
	n.kill("a")
}

// Whoever reaches the memory limit, the first process or a child of it, the
// exit says so, every time.
func TestLimitsMemory(t *testing.T) {
	n := newNode(t)
	turns := 20
	if testing.Short() {
		turns = 3
	}
	for i := range turns {
		for kind, script := range map[string]string{
			"init":  "exec busybox tail /dev/zero",
			"child": "busybox tail /dev/zero; exit 3",
		} {
			s := n.spec(fmt.Sprint(kind, i), sh(script)...)
			s.Limits.Memory = 16 << 20
			e, _ := n.run(s)
			want := int32(137)
			if kind == "child" {
				want = 3
			}
			if !e.OOM || !e.Known || e.Code != want || e.PidsHit || e.DiskHit || e.Peak < 15<<20 && e.Peak != 0 || e.Peak > 16<<20 {
				t.Errorf("%s: %+v, want out of memory and %d", s.ID, e, want)
			}
			n.Remove(n.ctx, s.ID)
		}
	}
}

func TestLimitsPids(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("trap 'echo more; go' USR1; n=1; go() { while busybox sleep 100 & do n=$((n+1)); echo at $n; done; }; go")...)
	s.Limits.Pids = 16
	n.begin(s)
	e := n.end(s.ID)
	out := n.output(s, logfile.Stdout)
	if !e.PidsHit || e.Code == 0 || !strings.HasSuffix(out, "at 16\n") {
		t.Errorf("%+v, %q: want 16 processes", e, out)
	}
}

// A task's files are what the limit says, and not a block more.
func TestLimitsDisk(t *testing.T) {
	n := newNode(t)
	if n.Info().DiskLimit != "loop" {
		t.Logf("this machine has no loop devices: %v", n.Info().Degraded)
		diskByPoll(t, n)
		return
	}
	const limit = 8 << 20
	for _, mode := range []string{"of one file", "of many files"} {
		t.Run(mode, func(t *testing.T) {
			fill := "busybox dd if=/dev/zero of=/big bs=4096 2>/dev/null; busybox stat -c %s /big; busybox rm /big"
			if mode == "of many files" {
				fill = "i=0; busybox mkdir /d; while busybox dd if=/dev/zero of=/d/$i bs=4096 count=8 2>/dev/null; do i=$((i+1)); done; echo $((i*32768)); busybox rm -r /d"
			}
			least := int64(limit - 16<<10)
			if mode == "of many files" {
				least = limit - 64<<10
			}
			// Twice: what is removed can be written again.
			s := n.spec("a", sh(fill+"; "+fill+"; busybox dd if=/dev/zero of=/big bs=64k; exit 4")...)
			s.Limits.Disk = limit
			e, out := n.run(s)
			if e.Code != 4 || !e.DiskHit || e.OOM {
				t.Errorf("%+v, want the disk limit reached", e)
			}
			if errs := n.output(s, logfile.Stderr); !strings.Contains(errs, "No space left on device") {
				t.Errorf("it was told %q", errs)
			}
			for _, f := range strings.Fields(out) {
				got, _ := strconv.ParseInt(f, 10, 64)
				if got > limit || got < least {
					t.Errorf("%d bytes could be written, want %d less a little", got, limit)
				}
			}
			if err := n.Remove(n.ctx, "a"); err != nil {
				t.Error(err)
			}
			noLoops(t, n)
		})
	}
	// What it uses is known, to the next keeper too, and goes with it.
	s := n.spec("b", sh("busybox dd if=/dev/zero of=/f bs=1M count=3 2>/dev/null; echo up; busybox sleep 100")...)
	s.Limits.Disk = limit
	n.begin(s)
	n.line(s, "up")
	check := func() {
		t.Helper()
		if u := sample(t, n, "b"); u.Disk < 3<<20 || u.Disk > 3<<20+128<<10 {
			t.Errorf("it uses %d bytes of disk, want 3Mi", u.Disk)
		}
	}
	check()
	n.crash()
	n.open()
	check()
	n.kill("b")
	noLoops(t, n)
	// A small one is as exact, and none is unlimited.
	s = n.spec("c", sh("busybox dd if=/dev/zero of=/f bs=512 2>/dev/null; busybox stat -c %s /f")...)
	s.Limits.Disk = 65536
	if _, out := n.run(s); out != "65536\n" && out != "61440\n" {
		t.Errorf("of 64Ki %q could be written", out)
	}
	noLoops(t, n)
}

// Without loop devices what has too much is ended.
func TestLimitsDiskByPoll(t *testing.T) {
	diskByPoll(t, newNode(t, func(c *runc.Config) { c.DiskByPoll = true }))
}

func diskByPoll(t *testing.T, n *node) {
	if n.Info().DiskLimit != "poll" {
		t.Errorf("limits by %q", n.Info().DiskLimit)
	}
	s := n.spec("a", sh("busybox dd if=/dev/zero of=/f bs=1M count=3 2>/dev/null; busybox ln /f /g; echo up; while :; do busybox sleep 1; done")...)
	s.Limits.Disk = 4 << 20
	n.begin(s)
	n.line(s, "up")
	n.until("the figure", func() bool { return sample(t, n, "a").Disk > 3<<20 })
	if u := sample(t, n, "a"); u.Disk > 3<<20+256<<10 {
		t.Errorf("3Mi with two names count as %d", u.Disk)
	}
	n.kill("a")
	s = n.spec("b", sh("busybox dd if=/dev/zero of=/f bs=1M count=5 2>/dev/null; while :; do busybox sleep 1; done")...)
	s.Limits.Disk = 4 << 20
	n.begin(s)
	if e := n.end("b"); !e.DiskHit || e.Code != 137 {
		t.Errorf("%+v, want ended for its disk limit", e)
	}
}

// noLoops waits until no loop device of a node's is left: the kernel lets go of
// them in its own time.
func noLoops(t testing.TB, n *node) {
	t.Helper()
	n.until("loop devices to go", func() bool { return len(loops(n.cfg.StateDir)) == 0 })
}

// loops returns the loop devices on files in a folder.
func loops(dir string) (list []string) {
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.HasPrefix(string(b), dir+"/") {
			list = append(list, f)
		}
	}
	return list
}

func TestLimitsRlimits(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc")...)
	s.Limits.Rlimits = []sdk.Rlimit{{Name: "nofile", Soft: 100, Hard: 200}, {Name: "core", Soft: 0, Hard: 0}}
	if _, out := n.run(s); out != "100\n200\n0\n0\n" {
		t.Errorf("%q", out)
	}
	if notes := n.find("a").Notes; len(notes) != 0 {
		t.Errorf("notes %q", notes)
	}
	// More than the machine may give: as much as it may, and a note.
	s = n.spec("b", sh("ulimit -Hn")...)
	s.Limits.Rlimits = []sdk.Rlimit{{Name: "nofile", Soft: 100, Hard: -1}}
	_, out := n.run(s)
	notes := n.find("b").Notes
	if len(notes) != 1 || !strings.Contains(notes[0], "nofile is "+strings.TrimSpace(out)+" instead of unlimited") {
		t.Errorf("has %q; notes %q", out, notes)
	}
	s = n.spec("c", "/bin/busybox", "true")
	s.Limits.Rlimits = []sdk.Rlimit{{Name: "files"}}
	if err := n.Create(n.ctx, s); isolation.ReasonOf(err) != sdk.ReasonInvalidTemplate {
		t.Errorf("no such rlimit: %v", err)
	}
}

// Traffic with the disk is held back where the data folder is on a disk, and
// refused with the cause where it is not.
func TestLimitsIO(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("echo up; busybox dd if=/dev/zero of=/f bs=64k count=32 oflag=direct 2>/dev/null || busybox dd if=/dev/zero of=/f bs=64k count=32 conv=fsync; echo done")...)
	s.Limits.IO = &sdk.IOLimits{WriteBytes: 1 << 20}
	err := n.Create(n.ctx, s)
	if isolation.ReasonOf(err) == sdk.ReasonUnsupported {
		if !strings.Contains(err.Error(), "data folder") {
			t.Errorf("refused without the cause: %v", err)
		}
		t.Logf("%v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := effective(t, n, "a", "writes"); !strings.Contains(got, "1048576") {
		t.Errorf("the kernel limits writes to %q", got)
	}
	if err := n.Start(n.ctx, "a"); err != nil {
		t.Fatal(err)
	}
	n.line(s, "up")
	begun := time.Now()
	n.line(s, "done")
	t.Logf("2Mi at 1Mi a second took %v", time.Since(begun))
	if took := time.Since(begun); took < 1200*time.Millisecond {
		t.Errorf("2Mi were written in %v", took)
	}
	n.end("a")

	s = n.spec("w", "/bin/busybox", "true")
	s.Limits.IO = &sdk.IOLimits{Weight: 500}
	if err := n.Create(n.ctx, s); err != nil && isolation.ReasonOf(err) != sdk.ReasonUnsupported {
		t.Errorf("weight: %v", err)
	}
}

// What only some kernels can limit is limited there, and refused elsewhere.
func TestLimitsHugepagesAndSwap(t *testing.T) {
	n := newNode(t)
	s := n.spec("huge", "/bin/busybox", "true")
	s.Limits.Hugepages = []sdk.Hugepages{{Size: 2 << 20, Limit: 4 << 20}}
	if err := n.Create(n.ctx, s); err == nil {
		dir, unified := cgroupOf(t, n, "huge", "hugetlb")
		name := "hugetlb.2MB.limit_in_bytes"
		if unified {
			name = "hugetlb.2MB.max"
		}
		if b, _ := os.ReadFile(filepath.Join(dir, name)); strings.TrimSpace(string(b)) != fmt.Sprint(4<<20) {
			t.Errorf("%s is %q", name, b)
		}
	} else if isolation.ReasonOf(err) != sdk.ReasonUnsupported {
		t.Error(err)
	}
	s = n.spec("swap", sh("echo up; busybox sleep 100")...)
	s.Limits.Memory, s.Limits.Swap = 32<<20, 8<<20
	if err := n.Create(n.ctx, s); err == nil {
		got := effective(t, n, "swap", "swap")
		if got != fmt.Sprint(40<<20) && got != fmt.Sprint(8<<20) {
			t.Errorf("swap is %s", got)
		}
		l := s.Limits
		l.Memory, l.Swap = 16<<20, 0
		for range 2 { // down and up again: which file comes first differs
			if err := n.Update(n.ctx, "swap", &l); err != nil {
				t.Error(err)
			}
			l = s.Limits
		}
		if got != effective(t, n, "swap", "swap") {
			t.Errorf("swap is %s after changes, want %s", effective(t, n, "swap", "swap"), got)
		}
	} else if isolation.ReasonOf(err) != sdk.ReasonUnsupported {
		t.Error(err)
	}
}

// Usage says what the kernel counted.
func TestLimitsUsage(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("v=$(busybox head -c 4000000 /dev/zero | busybox tr '\\0' x); busybox dd if=/dev/zero of=/f bs=64k count=16 conv=fsync 2>/dev/null; busybox sleep 100 & echo up; wait")...)
	s.Limits.Disk = 16 << 20
	n.begin(s)
	n.line(s, "up")
	n.until("sleep", func() bool { return sample(t, n, "a").Pids == 2 })
	u := sample(t, n, "a")
	if u.Task != "a" || u.At == 0 || u.Mem < 4_000_000 || u.CPU <= 0 || u.Swap != 0 {
		t.Errorf("%+v", u)
	}
	if u.MemPeak != 0 && u.MemPeak < u.Mem {
		t.Errorf("peak %d below %d", u.MemPeak, u.Mem)
	}
	if n.Info().DiskLimit == "loop" && u.Disk < 1<<20 {
		t.Errorf("disk %d", u.Disk)
	}
	t.Logf("%+v", u)
	n.kill("a")
	if list, err := n.Usage(n.ctx, "a"); err != nil || len(list) != 0 {
		t.Errorf("usage of a stopped container: %v, %v", list, err)
	}
}
