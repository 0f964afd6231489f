package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// The known ways out of runc, each with what stands in its way here. The
// versions that have the fixes are one thing; these tests are about what a
// container can do, whichever version there is.
func TestCVE(t *testing.T) {
	watch(t)
	n := newNode(t)
	for name, test := range map[string]func(*testing.T, *node){
		"2016-9962":  unreadableInit,
		"2019-5736":  keeperOverwritten,
		"2019-16884": mountOverProc,
		"2019-19921": procLink, // also 2023-27561 and 2023-28642, which are it again
		"2020-15257": abstractSockets,
		"2022-29162": inheritable,
		"2024-21626": leakedDescriptor,
		"2025-31133": maskThroughNull,
		"2025-52565": consoleLink,
		"2025-52881": redirectedWrite,
		"2026-41579": devLink,
	} {
		t.Run(name, func(t *testing.T) {
			n.t = t
			defer func() { n.t = t }()
			test(t, n)
		})
	}
	n.t = t
}

// created makes a container up to its start, when what will be its first
// process is still the keeper's own program.
func created(t *testing.T, n *node, id string, args ...string) (s *isolation.Spec, pid int32) {
	t.Helper()
	s = n.spec(id, args...)
	if err := n.Create(n.ctx, s); err != nil {
		t.Fatal(err)
	}
	return s, n.find(s.ID).PID
}

// unreadableInit: what the first process has open before it becomes the task's
// program is for nobody in the container: the kernel gives its /proc to root
// outside.
func unreadableInit(t *testing.T, n *node) {
	s, pid := created(t, n, "init", argSay, "nothing")
	defer n.Remove(n.ctx, s.ID)
	if uid := owner(t, fmt.Sprintf("/proc/%d/fd", pid)); uid != 0 {
		t.Errorf("its descriptors belong to %d: it can be read by the container's own users", uid)
	}
}

// keeperOverwritten: a container takes the program of its first process, or
// runs it again as its own, and writes to it.
func keeperOverwritten(t *testing.T, n *node) {
	exe := fmt.Sprintf("/proc/%d/exe", n.Info().PID)
	sum := func() [32]byte {
		b, err := os.ReadFile(exe)
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(b)
	}
	before := sum()
	s, pid := created(t, n, "overwrite", argSay, "nothing")
	for _, path := range []string{exe, fmt.Sprintf("/proc/%d/exe", pid)} {
		held, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		if seals, err := unix.FcntlInt(held.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&unix.F_SEAL_WRITE == 0 || seals&unix.F_SEAL_SEAL == 0 {
			t.Errorf("%s has the seals %x (%v)", path, seals, err)
		}
	}
	// The attack as it was: a handle that is held until nobody runs it.
	held, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := n.Remove(n.ctx, s.ID); err != nil {
		t.Fatal(err)
	}
	if f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", held.Fd()), os.O_WRONLY, 0); err == nil {
		if _, err := f.Write([]byte("#!/hostile\n")); err == nil {
			t.Error("the program of the container's first process was written to")
		}
		f.Close()
	}
	again := n.spec("again")
	again.Program.Args = []string{"/proc/self/exe", "-state", "/tmp", "-cgroup", "x"}
	if e, out := n.run(again); e.Code == 0 {
		t.Errorf("the keeper runs in a container: %q", out)
	}
	if sum() != before {
		t.Error("the keeper's program is another now")
	}
}

// mountOverProc: a volume over what protects the container.
func mountOverProc(t *testing.T, n *node) {
	for _, path := range []string{"/proc", "/proc/self/attr", "/proc/sys", "/sys/fs/cgroup", "/dev", "/dev/pts", "/tmp/../proc"} {
		s := n.spec("over", argSay, "nothing")
		s.Mounts = []isolation.Mount{{Name: "evil", Path: path, Ephemeral: &sdk.EphemeralVolume{Memory: true}}}
		if err := n.Create(n.ctx, s); sdk.KindOf(err) != sdk.Invalid || isolation.ReasonOf(err) != sdk.ReasonInvalidTemplate {
			t.Errorf("a volume at %s: %v", path, err)
			n.Remove(n.ctx, s.ID)
		}
	}
}

// refusedImage expects a container whose image has a link at the name to be
// refused.
func refusedImage(t *testing.T, n *node, name, to string) {
	t.Helper()
	s := n.spec("link", argSay, "nothing")
	s.Program.Layers = append(s.Program.Layers, plant(t, func(root string) error { return os.Symlink(to, filepath.Join(root, name)) }))
	if err := n.Create(n.ctx, s); isolation.ReasonOf(err) != sdk.ReasonImageInvalid {
		t.Errorf("/%s → %s: %v", name, to, err)
		n.Remove(n.ctx, s.ID)
	}
}

// procLink: a /proc that leads elsewhere, so that what is masked and labelled
// is not the real one.
func procLink(t *testing.T, n *node) {
	refusedImage(t, n, "proc", "/tmp")
	refusedImage(t, n, "proc", "/")
	refusedImage(t, n, "sys", "/tmp")
}

// devLink: a /dev that leads elsewhere, so that runc makes links and nodes
// there.
func devLink(t *testing.T, n *node) {
	outside := t.TempDir()
	refusedImage(t, n, "dev", outside)
	refusedImage(t, n, "dev", strings.Repeat("../", 12)+outside)
	if list, _ := os.ReadDir(outside); len(list) > 0 {
		t.Errorf("made outside: %v", list)
	}
}

// abstractSockets: the parent of containers listens where everybody in its
// network can connect.
func abstractSockets(t *testing.T, n *node) {
	sockets := map[string]bool{}
	fds := fmt.Sprintf("/proc/%d/fd", n.Info().PID)
	list, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		to, _ := os.Readlink(filepath.Join(fds, e.Name()))
		if number, ok := strings.CutPrefix(to, "socket:["); ok {
			sockets[strings.TrimSuffix(number, "]")] = true
		}
	}
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 8 || !sockets[f[6]] {
			continue
		}
		named++
		if strings.HasPrefix(f[7], "@") {
			t.Errorf("the keeper listens at %s", f[7])
		}
	}
	if named == 0 {
		t.Error("no socket of the keeper's was found: the test proves nothing")
	}
	for _, name := range []string{"", "keeper.sock"} {
		var st unix.Stat_t
		path := filepath.Join(n.dir, "state", name)
		if err := unix.Stat(path, &st); err != nil || name == "" && st.Mode&0o077 != 0 || st.Uid != 0 {
			t.Errorf("%s has mode %o of %d (%v)", path, st.Mode, st.Uid, err)
		}
	}
}

// inheritable: capabilities that a program gains by being marked.
func inheritable(t *testing.T, n *node) {
	_, out := n.run(n.spec("inheritable", argSay, "inheritable"))
	for _, want := range []string{"CapInh:\t0000000000000000", "CapBnd:\t0000000000000000", "CapAmb:\t0000000000000000"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	s := n.spec("granted", argSay, "inheritable")
	s.Program.Capabilities = []string{"KILL"}
	if _, out := n.run(s); !strings.Contains(out, "CapInh:\t0000000000000000") || !strings.Contains(out, "CapBnd:\t0000000000000020") {
		t.Errorf("root with one capability: %q", out)
	}
}

// leakedDescriptor: a folder of the machine that was left open, and a working
// folder that is it.
func leakedDescriptor(t *testing.T, n *node) {
	s, pid := created(t, n, "descriptors", argSay, "nothing")
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	list, err := os.ReadDir(fds)
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	own := map[string]bool{}
	for _, line := range mountLines(t, pid) {
		id, _, _ := strings.Cut(line, " ")
		own[id] = true
	}
	tried := []string{"3", "7", "8"} // 7 and 8 were it in runc
	for _, e := range list {
		name := filepath.Join(fds, e.Name())
		if info, err := os.Stat(name); err != nil || !info.IsDir() {
			continue
		}
		tried = append(tried, e.Name())
		// Folders in what is mounted in the container are the container's, and
		// runc keeps a /proc of the container's own that is mounted nowhere and
		// closed before the task's program is executed.
		at, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%s", pid, e.Name()))
		_, id, _ := strings.Cut(string(at), "mnt_id:")
		id, _, _ = strings.Cut(strings.TrimSpace(id), "\n")
		var flags, kind = 0, unix.Statfs_t{}
		_, octal, _ := strings.Cut(string(at), "flags:")
		fmt.Sscanf(strings.TrimSpace(octal), "%o", &flags)
		ownProc := unix.Statfs(name, &kind) == nil && kind.Type == unix.PROC_SUPER_MAGIC && flags&unix.O_CLOEXEC != 0
		if to, _ := os.Readlink(name); !own[id] && !ownProc {
			t.Errorf("descriptor %s is the machine's folder %s (%s)", e.Name(), to, at)
		}
	}
	if err := n.Remove(n.ctx, s.ID); err != nil {
		t.Error(err)
	}
	for _, fd := range tried {
		s := n.spec("cwd"+fd, argSay, "list", ".")
		link := "/proc/self/fd/" + fd
		s.Program.WorkDir = "/w"
		s.Program.Layers = append(s.Program.Layers, plant(t, func(root string) error { return os.Symlink(link, filepath.Join(root, "w")) }))
		if err := n.begin(s); err == nil {
			n.end(s.ID)
			t.Errorf("it ran in %s: %s", link, n.output(s))
		}
		n.Remove(n.ctx, s.ID)
		s.Program.WorkDir = link
		if err := n.Create(n.ctx, s); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("working folder %s: %v", link, err)
			n.Remove(n.ctx, s.ID)
		}
	}
}

// protected runs the attacks on what is masked in a container whose image has
// the links.
func protected(t *testing.T, n *node, id string, links map[string]string) {
	t.Helper()
	s := n.spec(id, argAll, "core-pattern", "sysrq", "kcore", "proc-keys", "timer-list", "interrupts", "firmware", "powercap", "dev-others", "console", "dev-null")
	s.Program.Layers = append(s.Program.Layers, plant(t, func(root string) error {
		for name, to := range links {
			at := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				return err
			}
			if err := os.Symlink(to, at); err != nil {
				return err
			}
		}
		return nil
	}))
	_, out := n.run(s)
	if !strings.HasSuffix(out, finished+"\n") || strings.Count(out, "\n") != 12 {
		t.Fatalf("they ended early: %s", out)
	}
	for line := range strings.Lines(strings.TrimSuffix(out, finished+"\n")) {
		if !strings.HasPrefix(line, Refused) {
			t.Error(line)
		}
	}
}

// maskThroughNull: files are hidden below a /dev/null that is not the device.
func maskThroughNull(t *testing.T, n *node) {
	protected(t, n, "null", map[string]string{"dev/null": "/proc/sys/kernel/core_pattern", "dev/zero": "/proc/sysrq-trigger"})
}

// consoleLink: the terminal is mounted at a /dev/console that leads to /proc.
func consoleLink(t *testing.T, n *node) {
	protected(t, n, "console", map[string]string{"dev/console": "/proc/sys/kernel/core_pattern", "dev/pts/0": "/proc/sysrq-trigger", "dev/ptmx": "/proc/kcore"})
}

// redirectedWrite: what runc writes to /proc for a container lands in another
// file, by mounts or links in the container.
func redirectedWrite(t *testing.T, n *node) {
	mountOverProc(t, n)
	protected(t, n, "redirected", map[string]string{"proc/self": "/proc/sys/kernel", "proc/thread-self": "/proc/sys/kernel", "proc/sys": "/sys"})
}

// fixed are the least versions without the known ways out.
var fixed = []struct{ cve, module, version string }{
	{"2019-5736", runcModule, "v1.0.0-rc7"},
	{"2019-16884", runcModule, "v1.0.0-rc9"},
	{"2019-19921", runcModule, "v1.0.0-rc10"},
	{"2021-30465", runcModule, "v1.0.0-rc95"},
	{"2022-29162", runcModule, "v1.1.2"},
	{"2023-25809", runcModule, "v1.1.5"},
	{"2023-27561", runcModule, "v1.1.5"},
	{"2023-28642", runcModule, "v1.1.5"},
	{"2024-21626", runcModule, "v1.1.12"},
	{"2024-45310", runcModule, "v1.1.14"},
	{"2025-31133", runcModule, "v1.4.0-rc.3"},
	{"2025-52565", runcModule, "v1.4.0-rc.3"},
	{"2025-52881", runcModule, "v1.4.0-rc.3"},
	{"2026-41579", runcModule, "v1.5.0-rc.3"},
	// What runc's fixes need of the modules it is made of.
	{"2025-52881", "github.com/cyphar/filepath-securejoin", "v0.6.0"},
	{"2025-52881", "github.com/opencontainers/cgroups", "v0.0.6"},
	{"2025-52881", "github.com/opencontainers/selinux", "v1.13.0"},
}

const runcModule = "github.com/opencontainers/runc"

// The keeper is built from versions that have every fix. What the program
// itself says counts, not what was meant to go into it.
func TestFixedVersions(t *testing.T) {
	info, err := buildinfo.Read(bytes.NewReader(keeperELF))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, m := range info.Deps {
		if m.Replace != nil {
			t.Errorf("%s is replaced by %s", m.Path, m.Replace.Path)
		}
		have[m.Path] = m.Version
	}
	if have[runcModule] == "" {
		t.Fatal("the keeper names no version of runc")
	}
	for _, f := range fixed {
		if v := have[f.module]; v != "" && older(v, f.version) {
			t.Errorf("CVE-%s: %s is %s, fixed in %s", f.cve, f.module, v, f.version)
		}
	}
}

// older reports whether version a is before b. A release candidate is before
// its release.
func older(a, b string) bool {
	parse := func(v string) (n [4]int) {
		v = strings.TrimPrefix(v, "v")
		release, candidate, pre := strings.Cut(v, "-rc")
		fmt.Sscanf(release, "%d.%d.%d", &n[0], &n[1], &n[2])
		n[3] = 1 << 30
		if pre {
			fmt.Sscan(strings.TrimPrefix(candidate, "."), &n[3])
		}
		return n
	}
	x, y := parse(a), parse(b)
	return slices.Compare(x[:], y[:]) < 0
}

func TestOlder(t *testing.T) {
	order := []string{"v1.0.0-rc7", "v1.0.0-rc95", "v1.0.0", "v1.1.2", "v1.1.12", "v1.4.0-rc.3", "v1.5.0-rc.3", "v1.5.2", "v2.0.0"}
	for i := range order {
		for j := range order {
			if older(order[i], order[j]) != (i < j) {
				t.Errorf("%s before %s: %v", order[i], order[j], i >= j)
			}
		}
	}
}
