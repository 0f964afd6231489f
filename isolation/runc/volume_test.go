package runc_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// Volumes are shared by a task's containers, hold what they may, belong to whom
// they belong on the node, and go with the task.
func TestVolumes(t *testing.T) {
	n := newNode(t)
	host := t.TempDir()
	for name, owner := range map[string]int{"root": 0, "user": 1000} {
		f := filepath.Join(host, name)
		if err := os.WriteFile(f, []byte(name+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(f, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	s := n.spec("vol", sh(strings.Join([]string{
		"busybox cat /disk/from-side /mem/from-side /dev/shm/from-side",
		"busybox df -m /mem | busybox awk 'END{print $2}'",
		"busybox head -c 3000000 /dev/zero > /mem/big || echo full",
		"echo x > /ro/y || echo readonly",
		"busybox stat -c '%n %u' /host/root /host/user; busybox cat /host/root; echo made > /host/made",
		"busybox head -c 3000000 /dev/zero > /sized/big || echo one",
		"busybox cat /one/file",
		"busybox grep -q '/host .*nosuid,nodev' /proc/self/mounts && echo flags",
	}, "\n"))...)
	s.Mounts = []isolation.Mount{
		{Name: "deep", Path: "/disk/deep", Ephemeral: &sdk.EphemeralVolume{}},
		{Name: "disk", Path: "/disk", Ephemeral: &sdk.EphemeralVolume{}},
		{Name: "mem", Path: "/mem", Ephemeral: &sdk.EphemeralVolume{Memory: true, Size: 2 << 20}},
		{Name: "sized", Path: "/sized", Ephemeral: &sdk.EphemeralVolume{Size: 1 << 20}},
		{Name: "ro", Path: "/ro", ReadOnly: true, Ephemeral: &sdk.EphemeralVolume{}},
		{Name: "host", Path: "/host", Host: host},
		{Name: "one", Path: "/one/file", Host: filepath.Join(host, "user"), ReadOnly: true},
	}
	side := sidecar("side", "echo a > /disk/from-side; echo b > /mem/from-side; echo c > /dev/shm/from-side; echo d > /disk/deep/x; busybox test -e /disk/from-side && echo done")
	side.User = "1000"
	s.Sidecars = []isolation.Program{side}
	if err := n.Create(n.ctx, s); err != nil {
		t.Fatal(err)
	}
	s.Program.Args[2] = "while ! busybox test -e /disk/deep/x; do busybox usleep 1000; done\n" + s.Program.Args[2]
	if err := n.Remove(n.ctx, s.ID); err != nil {
		t.Fatal(err)
	}
	_, out := n.run(s)
	want := "a\nb\nc\n2\nfull\nreadonly\n/host/root 0\n/host/user 1000\nroot\none\nuser\nflags\n"
	if out != want {
		t.Errorf("printed %q, want %q (%q)", out, want, n.output(s, logfile.Stderr))
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(host, "made"), &st); err != nil || st.Uid != 0 {
		t.Errorf("made by its root: %+v, %v", st.Uid, err)
	}
	if err := n.Remove(n.ctx, s.ID); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(n.cfg.StateDir, "tasks")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := os.Stat(filepath.Join(host, "user")); err != nil {
		t.Errorf("a folder of the node went with the task: %v", err)
	}
}

// Neither an image nor a folder of the node can lead a mount elsewhere.
func TestVolumeTraps(t *testing.T) {
	n := newNode(t)
	trap, host := t.TempDir(), t.TempDir()
	os.Chmod(trap, 0o755)
	for name, to := range map[string]string{"out": "/etc", "up": "../../../../etc"} {
		if err := os.Symlink(to, filepath.Join(trap, name)); err != nil {
			t.Fatal(err)
		}
	}
	os.WriteFile(filepath.Join(trap, "plain"), nil, 0o644)
	os.Symlink("/etc", filepath.Join(host, "link"))
	empty := &sdk.EphemeralVolume{Memory: true}
	tests := []struct {
		name   string
		mount  isolation.Mount
		reason sdk.Reason
		want   string
	}{
		{"link", isolation.Mount{Path: "/out", Ephemeral: empty}, sdk.ReasonVolume, "/out is a symbolic link in the image"},
		{"below a link", isolation.Mount{Path: "/up/new", Ephemeral: empty}, sdk.ReasonVolume, "/up is a symbolic link in the image"},
		{"link to proc", isolation.Mount{Path: "/proc/x", Ephemeral: empty}, sdk.ReasonInvalidTemplate, "protects the node"},
		{"file", isolation.Mount{Path: "/plain", Ephemeral: empty}, sdk.ReasonVolume, "another kind"},
		{"root", isolation.Mount{Path: "/", Ephemeral: empty}, sdk.ReasonInvalidTemplate, "no place for"},
		{"dots", isolation.Mount{Path: "/a/../../b", Ephemeral: empty}, sdk.ReasonInvalidTemplate, "whole path"},
		{"host link", isolation.Mount{Path: "/a", Host: filepath.Join(host, "link")}, sdk.ReasonVolume, "symbolic link in"},
		{"host below link", isolation.Mount{Path: "/a", Host: filepath.Join(host, "link/apt")}, sdk.ReasonVolume, "symbolic link in"},
		{"host missing", isolation.Mount{Path: "/a", Host: filepath.Join(host, "nothing")}, sdk.ReasonVolume, "there is no"},
		{"name climbs", isolation.Mount{Name: "../x", Path: "/a", Ephemeral: &sdk.EphemeralVolume{}}, sdk.ReasonVolume, "cannot name"},
	}
	before, err := os.ReadDir("/etc")
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := n.spec(fmt.Sprint("trap", i), "/bin/busybox", "true")
			s.Program.Layers = []string{layer, trap}
			if tt.mount.Name == "" {
				tt.mount.Name = "v"
			}
			s.Mounts = []isolation.Mount{tt.mount}
			err := n.Create(n.ctx, s)
			if isolation.ReasonOf(err) != tt.reason || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v (%v), want %v %q", err, isolation.ReasonOf(err), tt.reason, tt.want)
			}
		})
	}
	if after, _ := os.ReadDir("/etc"); len(after) != len(before) {
		t.Errorf("the node's /etc had %d entries, now %d", len(before), len(after))
	}
}

// A program of the node's own files sees those that everybody may read, and
// leaves no trace.
func TestHostRoot(t *testing.T) {
	n := newNode(t)
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("s"), 0o600)
	s := n.spec("proc", "/bin/sh", "-c", strings.Join([]string{
		"test -r /etc/os-release && echo reads",
		"cat /etc/shadow 2>/dev/null && echo shadow",
		"cat " + secret + " 2>/dev/null && echo secret",
		"ls -A /root /home /tmp /var/tmp",
		"echo x > /etc/drupe-was-here 2>/dev/null && echo etc",
		"echo x > /tmp/x && echo tmp",
		"echo x > /drupe-was-here && echo top",
		"ls /run/drupe-* 2>/dev/null && echo run",
		"test -e /vol/. && echo volume",
	}, "\n"))
	s.Program.Layers, s.Program.HostRoot, s.Program.Env = nil, true, []string{"PATH=/bin:/usr/bin"}
	s.Mounts = []isolation.Mount{{Name: "vol", Path: "/vol", Ephemeral: &sdk.EphemeralVolume{}}}
	_, out := n.run(s)
	if want := "reads\n/home:\n\n/root:\n\n/tmp:\n\n/var/tmp:\ntmp\ntop\nvolume\n"; out != want {
		t.Errorf("printed %q, want %q (%s)", out, want, n.output(s, logfile.Stderr))
	}
	for _, f := range []string{"/drupe-was-here", "/etc/drupe-was-here", "/tmp/x", "/vol"} {
		if _, err := os.Stat(f); err == nil {
			t.Errorf("%s is on the node", f)
		}
	}
	s = n.spec("users", "/bin/true")
	s.Program.HostRoot, s.HostUsers = true, true
	if err := n.Create(n.ctx, s); isolation.ReasonOf(err) != sdk.ReasonUnsupported {
		t.Errorf("with the host's users: %v", err)
	}
}

// Namespaces of the host are shared where that is asked for.
func TestHostNamespaces(t *testing.T) {
	n := newNode(t)
	links := "for k in pid ipc user net; do busybox readlink /proc/self/ns/$k; done; busybox test -e /proc/" + fmt.Sprint(os.Getpid()) + " && echo sees; busybox touch /dev/shm/.probe-none 2>/dev/null; exit 0"
	own := func(kind string) string {
		s, _ := os.Readlink("/proc/self/ns/" + kind)
		return s
	}
	tests := []struct {
		name  string
		edit  func(*isolation.Spec)
		kinds string
	}{
		{"none", func(*isolation.Spec) {}, "net"},
		{"pid", func(s *isolation.Spec) { s.HostPID = true }, "pid net"},
		{"ipc", func(s *isolation.Spec) { s.HostIPC = true }, "ipc net"},
		{"users", func(s *isolation.Spec) { s.HostUsers = true }, "user net"},
		{"all", func(s *isolation.Spec) { s.HostPID, s.HostIPC, s.HostUsers = true, true, true }, "pid ipc user net"},
	}
	defer os.Remove("/dev/shm/.probe-none")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := n.spec("ns-"+tt.name, sh(links)...)
			tt.edit(s)
			_, out := n.run(s)
			lines := strings.Split(out, "\n")
			for i, kind := range []string{"pid", "ipc", "user", "net"} {
				if shared := len(lines) > i && lines[i] == own(kind); shared != strings.Contains(tt.kinds, kind) {
					t.Errorf("%s shared: %v (%q, %s)", kind, shared, out, n.output(s, logfile.Stderr))
				}
			}
			if strings.Contains(out, "sees") != s.HostPID {
				t.Errorf("the host's processes: %q", out)
			}
		})
	}
	// Among the host's processes, nothing is left when the first one ends.
	s := n.spec("left", sh("busybox sleep 1000 & echo $!")...)
	s.HostPID = true
	_, out := n.run(s)
	var pid int32
	if _, err := fmt.Sscan(out, &pid); err != nil || alive(pid) {
		t.Errorf("process %q is left (%v)", out, err)
	}
}

// freePort is one that nobody has.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// ask sends a line to a port and returns what comes back.
func ask(port uint16, line string) (string, error) {
	c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := io.WriteString(c, line); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// A task with a network of its own is reached at its published ports, also after
// its keeper was killed, and at nothing else; it reaches nobody.
func TestPrivateNetwork(t *testing.T) {
	n := newNode(t)
	port, low := freePort(t), freePort(t)
	host, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	_, hostPort, _ := net.SplitHostPort(host.Addr().String())
	s := n.spec("net", sh(strings.Join([]string{
		"busybox ip -o link | busybox wc -l",
		"busybox nc -w 1 127.0.0.1 " + hostPort + " </dev/null && echo reached the host",
		"busybox nc -l -p 80 -e /bin/busybox true & busybox nc -w 1 127.0.0.1 80 </dev/null && echo low",
		fmt.Sprintf("echo up; exec busybox nc -ll -p %d -e /bin/busybox cat", port),
	}, "\n"))...)
	s.Program.User = "1000"
	s.PrivateNetwork, s.Publish = true, []sdk.PortBinding{{Name: "echo", Port: port}, {Name: "none", Port: low}}
	n.begin(s)
	n.line(s, "up")
	echo := func() {
		t.Helper()
		n.until("an echo", func() bool { got, err := ask(port, "hello\n"); return err == nil && got == "hello\n" })
	}
	echo()
	if got, err := ask(low, "x"); err == nil && got != "" {
		t.Errorf("a port that nobody listens on answers %q", got)
	}
	if out := n.output(s, logfile.Stdout); !strings.HasPrefix(out, "1\n") || strings.Contains(out, "reached") {
		t.Errorf("printed %q (%s)", out, n.output(s, logfile.Stderr))
	}
	other := n.spec("other", "/bin/busybox", "true")
	other.PrivateNetwork, other.Publish = true, []sdk.PortBinding{{Name: "echo", Port: port}}
	if err := n.Create(n.ctx, other); isolation.ReasonOf(err) != sdk.ReasonPortTaken {
		t.Errorf("the same port again: %v", err)
	}
	if err := syscall.Kill(n.Info().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range n.exits {
	}
	// Somebody else has it for a while.
	thief, err := net.Listen("tcp", fmt.Sprint(":", low))
	if err != nil {
		t.Fatal(err)
	}
	n.open()
	echo()
	thief.Close()
	n.until("the port again", func() bool {
		c, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", low))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	n.Signal(n.ctx, "net", 9, true)
	n.end("net")
	if _, err := ask(port, "x"); err == nil {
		t.Error("the port is still open")
	}
}
