package doctor

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

var update = flag.Bool("update", false, "write the golden file")

// sound are the files of a machine with nothing wrong.
var sound = map[string]string{
	"proc/sys/kernel/osrelease": "6.18.2\n", "proc/sys/user/max_user_namespaces": "90000\n", "proc/self/attr/current": "unconfined\n",
	"proc/sys/kernel/seccomp/actions_avail": "kill_process errno allow\n", "proc/filesystems": "nodev\tproc\nnodev\toverlay\n",
	"proc/sys/kernel/hostname": "n1\n", "etc/hosts": "10.0.0.2 n1\n", "proc/meminfo": "MemTotal: 8388608 kB\nSwapTotal: 0 kB\n",
	"proc/self/limits":        "Limit  Soft  Hard  Units\nMax open files            1024                 1048576              files\n",
	"proc/self/status":        "Name:\tdrupe\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
	"proc/sys/kernel/pid_max": "4194304\n", "proc/sys/kernel/threads-max": "60000\n", "proc/sys/kernel/keys/root_maxkeys": "1000000\n",
	"proc/sys/fs/inotify/max_user_instances": "8192\n", "proc/sys/fs/inotify/max_user_watches": "65536\n", "proc/sys/vm/max_map_count": "65530\n",
	"proc/sys/kernel/random/entropy_avail": "256\n", "sys/kernel/rcu_expedited": "1\n",
	"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n", "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
	"proc/self/mountinfo": "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 27 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
	"proc/net/tcp":        "  sl  local_address rem_address   st\n   0: 00000000:0016 00000000:0000 0A\n",
}

const version1 = "4:memory:/\n3:cpu,cpuacct:/\n2:pids:/\n5:cpuset:/\n6:blkio:/\n7:devices:/\n0::/\n"

// faults are planted one at a time: files of the machine are set (or taken
// away, by "-"), or facts that no file tells. Each must be found, and nothing
// else.
var faults = []struct {
	id    string
	files map[string]string
	facts func(*Facts)
}{
	{"root", map[string]string{"proc/self/status": "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0\n"}, nil},
	{"capabilities", map[string]string{"proc/self/status": "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n"}, nil},
	{"apparmor", map[string]string{"proc/self/attr/current": "docker-default (enforce)\n"}, nil},
	{"kernel", map[string]string{"proc/sys/kernel/osrelease": "4.19.0-21-amd64\n"}, nil},
	{"idmap", map[string]string{"proc/sys/kernel/osrelease": "5.15.0\n"}, nil},
	{"overlay", map[string]string{"proc/filesystems": "nodev\tproc\n"}, nil},
	{"seccomp", map[string]string{"proc/sys/kernel/seccomp/actions_avail": "-"}, nil},
	{"userns", map[string]string{"proc/sys/user/max_user_namespaces": "0\n"}, nil},
	{"cgroup", map[string]string{"sys/fs/cgroup/cgroup.controllers": "-"}, nil},
	{"cgroup-memory", map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n"}, nil},
	{"cgroup-io", map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory pids\n"}, nil},
	{"cgroup-read-only", map[string]string{"proc/self/mountinfo": "27 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 27 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"}, nil},
	{"cgroup-hybrid", map[string]string{"sys/fs/cgroup/cgroup.controllers": "-", "proc/self/cgroup": version1}, nil},
	{"data", nil, func(f *Facts) { f.DataFault = "read-only file system" }},
	{"data-remote", map[string]string{"proc/self/mountinfo": "27 1 0:40 / / rw - nfs4 srv:/x rw\n"}, nil},
	{"data-volatile", map[string]string{"proc/self/mountinfo": "27 1 0:40 / / rw - tmpfs none rw\n"}, nil},
	{"data-overlay", map[string]string{"proc/self/mountinfo": "27 1 0:40 / / rw - overlay overlay rw\n"}, nil},
	{"data-noexec", map[string]string{"proc/self/mountinfo": "27 1 8:1 / / rw,noexec - ext4 /dev/sda1 rw\n"}, nil},
	{"disk", nil, func(f *Facts) { f.Free = 10 << 20 }},
	{"disk-low", nil, func(f *Facts) { f.Free = 3 << 30 }},
	{"inodes", nil, func(f *Facts) { f.InodesFree = 900 }},
	{"mem", map[string]string{"proc/meminfo": "MemTotal: 262144 kB\nSwapTotal: 0 kB\n"}, nil},
	{"swap", map[string]string{"proc/meminfo": "MemTotal: 8388608 kB\nSwapTotal: 2097152 kB\n", "sys/fs/cgroup/cgroup.controllers": "-",
		"proc/self/cgroup": strings.TrimSuffix(version1, "0::/\n")}, nil},
	{"clock", nil, func(f *Facts) { f.Now = time.Unix(86400, 0) }},
	{"clock-sync", nil, func(f *Facts) { f.Synced = false }},
	{"ports", map[string]string{"proc/sys/net/ipv4/ip_local_port_range": "1024 65000\n"}, nil},
	{"ports-taken", map[string]string{"proc/net/tcp6": "   0: 00000000000000000000000000000000:4E20 0:0 0A\n   1: 0:4E21 0:0 01\n"}, nil},
	{"server", nil, func(f *Facts) { f.Servers = []Server{{"10.0.0.1:4600", "connection refused"}} }},
	{"hostname", map[string]string{"proc/sys/kernel/hostname": "my_host\n", "etc/hosts": "10.0.0.2 my_host\n"}, nil},
	{"hostname-address", map[string]string{"etc/hosts": "127.0.0.1 localhost\n"}, nil},
	{"identity", nil, func(f *Facts) { f.Identity = "checksum differs" }},
	{"certificate", nil, func(f *Facts) { f.Certificate = f.Now.Add(-time.Hour) }},
	{"certificate-soon", nil, func(f *Facts) { f.Certificate = f.Now.Add(48 * time.Hour) }},
	{"token", nil, func(f *Facts) { f.Token, f.TokenFault = "/etc/drupe/token", "it is empty" }},
	{"secret-mode", nil, func(f *Facts) { f.Exposed = []string{"/etc/drupe/token"} }},
	{"nofile", map[string]string{"proc/self/limits": "Max open files            1024                 4096              files\n"}, nil},
	{"pid-max", map[string]string{"proc/sys/kernel/pid_max": "4096\n"}, nil},
	{"threads-max", map[string]string{"proc/sys/kernel/threads-max": "2000\n"}, nil},
	{"keys", map[string]string{"proc/sys/kernel/keys/root_maxkeys": "200\n"}, nil},
	{"inotify", map[string]string{"proc/sys/fs/inotify/max_user_instances": "128\n"}, nil},
	{"inotify-watches", map[string]string{"proc/sys/fs/inotify/max_user_watches": "8192\n"}, nil},
	{"map-count", map[string]string{"proc/sys/vm/max_map_count": "1000\n"}, nil},
	{"entropy", map[string]string{"proc/sys/kernel/random/entropy_avail": "12\n"}, nil},
	{"rcu", map[string]string{"sys/kernel/rcu_expedited": "0\n"}, nil},
	{"gpu-nodes", map[string]string{"proc/driver/nvidia/version": "NVRM 550.54\nGCC\n", "usr/lib64/libnvidia-ml.so.1": "x", "dev/nvidiactl": "x"}, nil},
	{"gpu-libraries", map[string]string{"proc/driver/nvidia/version": "NVRM 550.54\n", "dev/nvidiactl": "x", "dev/nvidia-uvm": "x"}, nil},
	{"remains", map[string]string{"run/drupe-0123456789ab/x": "", "run/drupe-notahexname/x": ""}, nil},
	{"keeper", map[string]string{"proc/77/cmdline": "drupe-keeper\x00-state\x00/var/lib/drupe/keeper\x00-build\x00old\x00", "run/drupe-64ac17702b5e/x": "-"}, nil},
}

// machine makes the files and gathers the facts of a sound machine on which
// some are different.
func machine(t *testing.T, different map[string]string) *Facts {
	t.Helper()
	root := t.TempDir()
	for _, set := range []map[string]string{sound, different} {
		for name, text := range set {
			p := filepath.Join(root, name)
			os.Remove(p)
			if text == "-" {
				continue
			}
			if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := Gather(Options{Root: root, Data: "/var/lib/drupe", Build: "new"})
	f.Now, f.Synced = time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC), true
	f.Total, f.Free, f.Inodes, f.InodesFree = 100<<30, 60<<30, 1e6, 9e5
	return f
}

func TestSound(t *testing.T) {
	if l := Check(machine(t, nil)); len(l) != 0 {
		t.Errorf("found on a sound machine: %+v", l)
	}
}

func TestPlanted(t *testing.T) {
	var b strings.Builder
	for _, tt := range faults {
		f := machine(t, tt.files)
		if tt.facts != nil {
			tt.facts(f)
		}
		l := Check(f)
		if len(l) != 1 || l[0].ID != tt.id {
			t.Errorf("%s: found %+v", tt.id, l)
			continue
		}
		fmt.Fprintf(&b, "%s %s\n  what: %s\n  why:  %s\n  fix:  %s\n", l[0].Level, l[0].ID, l[0].What, l[0].Why, l[0].Fix)
		if l[0].What == "" || l[0].Why == "" || l[0].Fix == "" || Bad(l) != (l[0].Level == Fatal) {
			t.Errorf("%+v", l[0])
		}
	}
	golden := filepath.Join("testdata", "planted.txt")
	if *update {
		os.MkdirAll("testdata", 0o755)
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || b.String() != string(want) {
		t.Errorf("not as in %s (%v):\n%s", golden, err, b.String())
	}
}

// Facts of which nothing is known, and all faults at once, are no trouble; the
// worst come first.
func TestOrder(t *testing.T) {
	all := map[string]string{}
	for _, tt := range faults {
		for k, v := range tt.files {
			all[k] = v
		}
	}
	l := Check(machine(t, all))
	warned := false
	for _, f := range l {
		if f.Level != Fatal {
			warned = true
		} else if warned {
			t.Fatal("a fatal finding after others")
		}
	}
	Check(&Facts{})
}

// The tests' machine can be a node: nothing fatal is found on it.
func TestThisMachine(t *testing.T) {
	dir := t.TempDir()
	f := Gather(Options{Data: dir, Ports: sdk.Range{First: 1, Last: 1}})
	f.Live(context.Background(), nil)
	for _, x := range Check(f) {
		if x.Level == Fatal {
			t.Errorf("%+v", x)
		}
	}
}
