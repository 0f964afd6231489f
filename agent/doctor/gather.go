package doctor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/agent/probe"
	"github.com/drupe-os/drupe/sdk"
)

// Options say what to look at.
type Options struct {
	// Root is the folder under which the machine's files are; "": "/".
	Root string
	// Data is the agent's folder, absolute; it need not exist yet.
	Data string
	// Token is the file with the token to join; "": none.
	Token string
	// Ports is the pool for tasks; the zero value is probe.DefaultPorts.
	Ports sdk.Range
	// Build of the keeper in this program; "": not known.
	Build string
}

// Gather reads what files tell of a machine. Live adds what they do not.
func Gather(o Options) *Facts {
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Ports == (sdk.Range{}) {
		o.Ports = probe.DefaultPorts
	}
	g := gatherer{o.Root}
	f := &Facts{UID: -1, Free: -1, Data: o.Data, Ports: o.Ports, Token: o.Token, Build: o.Build,
		Kernel: g.text("proc/sys/kernel/osrelease"), Namespaces: g.number("proc/sys/user/max_user_namespaces"),
		Profile:  g.text("proc/self/attr/current"),
		Seccomp:  strings.Contains(g.text("proc/sys/kernel/seccomp/actions_avail"), "errno"),
		Overlay:  g.listed("proc/filesystems", "overlay"),
		Hostname: g.text("proc/sys/kernel/hostname"), Mem: g.meminfo("MemTotal"), Swap: g.meminfo("SwapTotal"),
		Files: -1, Pids: g.number("proc/sys/kernel/pid_max"), Threads: g.number("proc/sys/kernel/threads-max"),
		Keys: g.number("proc/sys/kernel/keys/root_maxkeys"), Monitors: g.number("proc/sys/fs/inotify/max_user_instances"),
		Watches: g.number("proc/sys/fs/inotify/max_user_watches"), Mappings: g.number("proc/sys/vm/max_map_count"),
		Entropy: g.number("proc/sys/kernel/random/entropy_avail"), Slow: g.number("sys/kernel/rcu_expedited") == 0,
	}
	f.status(g)
	f.controlGroups(g)
	f.listeners(g)
	f.gpu(g)
	f.keepers(g)
	mounts := probe.Mounts(filepath.Join(o.Root, "proc"))
	dir := o.Data
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if m, ok := probe.MountOf(mounts, dir); ok {
		f.Type = m.Type
		f.NoExec = has(m.Options, "noexec")
	}
	if m, ok := probe.MountOf(mounts, "/sys/fs/cgroup"); ok && m.Path != "/" {
		f.GroupsFixed = f.Version == 2 && has(m.Options, "ro")
	}
	for _, m := range mounts {
		if m.Type == "cgroup" && strings.HasPrefix(m.Path, "/sys/fs/cgroup/") && has(m.Options, "memory") && has(m.Options, "ro") {
			f.GroupsFixed = true
		}
	}
	for line := range strings.Lines(g.text("etc/hosts")) {
		if names := strings.Fields(line); len(names) > 1 && has(names[1:], f.Hostname) {
			f.Resolved = true
		}
	}
	for _, p := range []string{filepath.Join(o.Data, "identity"), o.Token} {
		if st, err := os.Stat(p); p != "" && err == nil && st.Mode().Perm()&0o077 != 0 {
			f.Exposed = append(f.Exposed, p)
		}
	}
	if o.Token != "" {
		if b, err := os.ReadFile(o.Token); err != nil {
			f.TokenFault = "it is not there, or not readable"
		} else if len(bytes.TrimSpace(b)) == 0 {
			f.TokenFault = "it is empty"
		}
	}
	return f
}

func has(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

type gatherer struct{ root string }

func (g gatherer) text(name string) string {
	b, err := os.ReadFile(filepath.Join(g.root, name))
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(bytes.TrimSpace(b)), "\x00")
}

func (g gatherer) number(name string) int64 {
	n, err := strconv.ParseInt(g.text(name), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

func (g gatherer) exists(name string) bool {
	_, err := os.Stat(filepath.Join(g.root, name))
	return err == nil
}

// listed reports whether a line of a file ends in the word.
func (g gatherer) listed(name, word string) bool {
	for line := range strings.Lines(g.text(name)) {
		if w := strings.Fields(line); len(w) > 0 && w[len(w)-1] == word {
			return true
		}
	}
	return false
}

func (g gatherer) meminfo(name string) int64 {
	for line := range strings.Lines(g.text("proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			if w := strings.Fields(rest); len(w) > 0 {
				if n, err := strconv.ParseInt(w[0], 10, 64); err == nil {
					return n << 10
				}
			}
		}
	}
	return -1
}

// status reads who this process is and what it may do.
func (f *Facts) status(g gatherer) {
	for line := range strings.Lines(g.text("proc/self/status")) {
		name, value, _ := strings.Cut(line, ":")
		w := strings.Fields(value)
		switch {
		case name == "Uid" && len(w) > 1:
			f.UID, _ = strconv.Atoi(w[1])
		case name == "CapEff" && len(w) > 0:
			f.Capabilities, _ = strconv.ParseUint(w[0], 16, 64)
		}
	}
	for line := range strings.Lines(g.text("proc/self/limits")) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			if w := strings.Fields(rest); len(w) > 1 {
				if n, err := strconv.ParseInt(w[1], 10, 64); err == nil {
					f.Files = n
				}
			}
		}
	}
}

func (f *Facts) controlGroups(g gatherer) {
	unified := g.text("sys/fs/cgroup/cgroup.controllers")
	if unified != "" {
		f.Version = 2
		f.Controllers = strings.Fields(unified)
		f.SwapCount = true
		return
	}
	for line := range strings.Lines(g.text("proc/self/cgroup")) {
		p := strings.SplitN(line, ":", 3)
		if len(p) != 3 {
			continue
		}
		if p[0] == "0" {
			f.Mixed = true
			continue
		}
		for _, c := range strings.Split(p[1], ",") {
			if c != "" && !strings.Contains(c, "=") {
				f.Version = 1
				f.Controllers = append(f.Controllers, c)
			}
		}
	}
	f.SwapCount = g.exists("sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
}

// listeners finds who has ports of the pool, and the range for connections.
func (f *Facts) listeners(g gatherer) {
	if w := strings.Fields(g.text("proc/sys/net/ipv4/ip_local_port_range")); len(w) == 2 {
		first, err1 := strconv.ParseUint(w[0], 10, 16)
		last, err2 := strconv.ParseUint(w[1], 10, 16)
		if err1 == nil && err2 == nil {
			f.Ephemeral = sdk.Range{First: uint16(first), Last: uint16(last)}
		}
	}
	for _, name := range []string{"proc/net/tcp", "proc/net/tcp6"} {
		for line := range strings.Lines(g.text(name)) {
			w := strings.Fields(line)
			if len(w) < 4 || w[3] != "0A" { // listening
				continue
			}
			_, port, _ := strings.Cut(w[1], ":")
			n, err := strconv.ParseUint(port, 16, 16)
			if p := uint16(n); err == nil && p >= f.Ports.First && p <= f.Ports.Last {
				f.Taken = append(f.Taken, p)
			}
		}
	}
}

func (f *Facts) gpu(g gatherer) {
	if !g.exists("proc/driver/nvidia/version") {
		return
	}
	f.Driver, _, _ = strings.Cut(g.text("proc/driver/nvidia/version"), "\n")
	for _, n := range []string{"/dev/nvidiactl", "/dev/nvidia-uvm"} {
		if !g.exists(n) {
			f.NoNodes = append(f.NoNodes, n)
		}
	}
	f.NoLibraries = true
	for _, dir := range []string{"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "run/nvidia/driver/usr/lib64", "run/nvidia/driver/usr/lib/x86_64-linux-gnu"} {
		if g.exists(filepath.Join(dir, "libnvidia-ml.so.1")) {
			f.NoLibraries = false
		}
	}
}

// keepers finds those that run, and what others left.
func (f *Facts) keepers(g gatherer) {
	own := filepath.Join(f.Data, "keeper")
	alive := map[string]bool{}
	entries, _ := os.ReadDir(filepath.Join(g.root, "proc"))
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		args := strings.Split(g.text(filepath.Join("proc", e.Name(), "cmdline")), "\x00")
		if len(args) < 3 || args[0] != "drupe-keeper" || args[1] != "-state" {
			continue
		}
		sum := sha256.Sum256([]byte(filepath.Clean(args[2])))
		alive["drupe-"+hex.EncodeToString(sum[:6])] = true
		if filepath.Clean(args[2]) == own && len(args) > 4 && args[3] == "-build" {
			f.Keeper = args[4]
		}
	}
	// What belongs to this folder is taken over at the start.
	sum := sha256.Sum256([]byte(own))
	alive["drupe-"+hex.EncodeToString(sum[:6])] = true
	for _, dir := range []string{"run", "sys/fs/cgroup", "sys/fs/cgroup/memory"} {
		left, _ := filepath.Glob(filepath.Join(g.root, dir, "drupe-????????????"))
		for _, p := range left {
			if _, err := hex.DecodeString(strings.TrimPrefix(filepath.Base(p), "drupe-")); err == nil && !alive[filepath.Base(p)] {
				f.Left = append(f.Left, filepath.Join("/", dir, filepath.Base(p)))
			}
		}
	}
}

// space reads how much room is where the data folder is, or will be.
func (f *Facts) space() {
	dir := f.Data
	for dir != "/" && dir != "." {
		if st, err := os.Stat(dir); err == nil {
			if !st.IsDir() {
				f.DataFault = dir + " is no folder"
				return
			}
			break
		}
		dir = filepath.Dir(dir)
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		f.DataFault = err.Error()
		return
	}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		f.Total, f.Free = int64(st.Blocks)*st.Bsize, int64(st.Bavail)*st.Bsize
		f.Inodes, f.InodesFree = int64(st.Files), int64(st.Ffree)
	}
}
