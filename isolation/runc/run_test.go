package runc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

func TestRuns(t *testing.T) {
	n := newNode(t)
	t.Logf("%+v", n.Info())
	tests := []struct {
		name string
		spec *isolation.Spec
		code int32
		out  string
	}{
		{"hello", n.spec("hello", "/bin/busybox", "echo", "hello"), 0, "hello\n"},
		{"code", n.spec("code", sh("exit 42")...), 42, ""},
		{"signal", n.spec("signal", sh("echo begun; kill -9 $$; busybox sleep 100 & kill -9 $!; exit 7")...), 7, "begun\n"},
		{"environment", with(n.spec("env", sh("echo $A-$B-")...), func(s *isolation.Spec) { s.Program.Env = []string{"A=1", "B="} }), 0, "1--\n"},
		{"folder", with(n.spec("cwd", sh("pwd")...), func(s *isolation.Spec) { s.Program.WorkDir = "/made/by/keeper" }), 0, "/made/by/keeper\n"},
		{"numbers", with(n.spec("uid", sh("busybox id -u; busybox id -g")...), func(s *isolation.Spec) { s.Program.User = "1234:56" }), 0, "1234\n56\n"},
		{"name", with(n.spec("name", sh("busybox id")...), func(s *isolation.Spec) { s.Program.User = "web" }), 0, "uid=1000(web) gid=100(users) groups=200(extra)\n"},
		{"by path", n.spec("path", "busybox", "echo", "found"), 0, "found\n"},
		{"process one", n.spec("one", sh("echo $$")...), 0, "1\n"},
		{"host name", n.spec("host-name.1", sh("busybox hostname")...), 0, "host-name.1\n"},
		{"root is its own", n.spec("write", sh("echo x > /new && busybox cat /new && busybox stat -c %u /new /bin/busybox")...), 0, "x\n0\n0\n"},
		{"read-only", with(n.spec("ro", sh("echo x > /new || echo no")...), func(s *isolation.Spec) { s.Program.ReadOnly = true }), 0, "no\n"},
		{"layer untouched", n.spec("again", sh("busybox test -e /new && echo leaked; busybox rm /bin/text; echo done")...), 0, "done\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, out := n.run(tt.spec)
			if !e.Known || e.Code != tt.code || e.OOM || e.PidsHit || out != tt.out {
				t.Errorf("exit %+v, printed %q (and %q), want %d and %q", e, out, n.output(tt.spec, logfile.Stderr), tt.code, tt.out)
			}
			if e.Ended == 0 || n.find(tt.spec.ID).Started == 0 {
				t.Error("times are missing")
			}
			if err := n.Remove(n.ctx, tt.spec.ID); err != nil {
				t.Error(err)
			}
		})
	}
	list, err := n.List(n.ctx)
	if err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

func with(s *isolation.Spec, edit func(*isolation.Spec)) *isolation.Spec {
	edit(s)
	return s
}

func TestConfinement(t *testing.T) {
	n := newNode(t)
	read := func(id, script string, edit ...func(*isolation.Spec)) string {
		t.Helper()
		s := n.spec(id, sh(script)...)
		for _, e := range edit {
			e(s)
		}
		_, out := n.run(s)
		return out
	}
	status := read("status", "busybox cat /proc/self/status")
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want+"\n") {
			t.Errorf("no %q in %s", want, status)
		}
	}
	granted := read("caps", "busybox grep Cap /proc/self/status", func(s *isolation.Spec) {
		s.Program.Capabilities, s.Program.User = []string{"NET_BIND_SERVICE", "KILL"}, "1000"
	})
	if want := "CapEff:\t0000000000000420"; !strings.Contains(granted, want) {
		t.Errorf("granted %q, want %q", granted, want)
	}
	if n.Info().UserNamespaces {
		if got := read("map", "busybox cat /proc/self/uid_map"); strings.Join(strings.Fields(got), " ") != "0 300000 65536" {
			t.Errorf("ids %q", got)
		}
	}
	// Every attempt prints its name if it succeeds.
	attempts := strings.Join([]string{
		"busybox mount -t tmpfs x /tmp && echo mount",
		"echo 1 > /proc/sys/kernel/panic && echo sysctl",
		"echo b > /proc/sysrq-trigger && echo sysrq",
		"busybox mknod /tmp/mem c 1 1 && echo mknod",
		"busybox head -c 1 /proc/kcore | busybox grep -q . && echo kcore",
		"busybox chroot / /bin/true && echo chroot",
		"busybox unshare -m /bin/busybox true && echo unshare",
		"busybox touch /sys/x && echo sys",
		"for f in /sys/fs/cgroup/*/tasks /sys/fs/cgroup/*/memory.limit_in_bytes; do echo 1 > $f && echo $f; done",
		"busybox ls /proc/1/root/etc/os-release && echo host",
		"busybox ps | busybox grep -q '[d]rupe-keeper' && echo processes",
		"busybox hostname other && echo hostname",
		"busybox ls /proc/self/fd | busybox grep -qv '^[0-3]$' && echo descriptors",
	}, " 2>/dev/null\n")
	if got := read("attempts", attempts); got != "" {
		t.Errorf("was allowed to:\n%s", got)
	}
}

func TestSignals(t *testing.T) {
	n := newNode(t)
	s := n.spec("polite", sh("trap 'echo bye; exit 4' TERM; echo up; while :; do busybox sleep 0.05; done")...)
	n.begin(s)
	n.line(s, "up")
	if err := n.Signal(n.ctx, s.ID, 15, false); err != nil {
		t.Fatal(err)
	}
	if e := n.end(s.ID); e.Code != 4 || n.output(s, logfile.Stdout) != "up\nbye\n" {
		t.Errorf("%+v %q", e, n.output(s, logfile.Stdout))
	}

	s = n.spec("deaf", sh("trap '' TERM; echo up; while :; do busybox sleep 0.05; done")...)
	n.begin(s)
	n.line(s, "up")
	if err := n.Signal(n.ctx, s.ID, 15, true); err != nil {
		t.Fatal(err)
	}
	if err := n.Remove(n.ctx, s.ID); sdk.KindOf(err) != sdk.Conflict {
		t.Errorf("removing what runs: %v", err)
	}
	if c := n.find(s.ID); c.State != isolation.Running {
		t.Errorf("%+v", c)
	}
	n.Signal(n.ctx, s.ID, 9, false)
	if e := n.end(s.ID); e.Code != 137 || e.OOM {
		t.Errorf("%+v", e)
	}
	if err := n.Signal(n.ctx, s.ID, 15, false); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("signal to a stopped one: %v", err)
	}
}

func TestCannotStart(t *testing.T) {
	n := newNode(t)
	tests := []struct {
		name   string
		edit   func(*isolation.Spec)
		reason sdk.Reason
	}{
		{"command not found", func(s *isolation.Spec) { s.Program.Args = []string{"/bin/nothing"} }, sdk.ReasonCommandNotFound},
		{"command not in path", func(s *isolation.Spec) { s.Program.Args = []string{"nothing"} }, sdk.ReasonCommandNotFound},
		{"not executable", func(s *isolation.Spec) { s.Program.Args = []string{"/bin/text"} }, sdk.ReasonCommandDenied},
		{"a folder", func(s *isolation.Spec) { s.Program.Args = []string{"/bin"} }, sdk.ReasonCommandDenied},
		{"unknown user", func(s *isolation.Spec) { s.Program.User = "nobody-here" }, sdk.ReasonInvalidTemplate},
		{"layer gone", func(s *isolation.Spec) { s.Program.Layers = []string{"/nowhere"} }, sdk.ReasonStartFailed},
		{"no command", func(s *isolation.Spec) { s.Program.Args = nil }, sdk.ReasonInvalidTemplate},
		{"id", func(s *isolation.Spec) { s.ID = "../x" }, sdk.ReasonInvalidTemplate},
		{"too little memory to begin", func(s *isolation.Spec) { s.Limits.Memory = 64 << 10 }, sdk.ReasonStartFailed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := n.spec("a", "/bin/busybox", "true")
			tt.edit(s)
			err := n.Create(n.ctx, s)
			if isolation.ReasonOf(err) != tt.reason {
				t.Fatalf("got %v (%v), want %v", isolation.ReasonOf(err), err, tt.reason)
			}
			t.Log(err)
			if list, _ := n.List(n.ctx); len(list) > 0 {
				t.Errorf("left %v", list)
			}
		})
	}
	// The id is free for another try.
	if e, _ := n.run(n.spec("a", "/bin/busybox", "true")); e.Code != 0 {
		t.Errorf("%+v", e)
	}
	if err := n.Create(n.ctx, n.spec("a", "/bin/busybox", "true")); sdk.KindOf(err) != sdk.Conflict {
		t.Errorf("the same id again: %v", err)
	}
}

func TestTwoPhases(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", "/bin/busybox", "echo", "ran")
	if err := n.Create(n.ctx, s); err != nil {
		t.Fatal(err)
	}
	if c := n.find("a"); c.State != isolation.Created || c.PID == 0 {
		t.Errorf("%+v", c)
	}
	if got := n.output(s, logfile.Stdout); got != "" {
		t.Errorf("printed %q before its start", got)
	}
	if err := n.Remove(n.ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if err := n.Start(n.ctx, "a"); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("start of what is removed: %v", err)
	}
	if err := n.Remove(n.ctx, "a"); err != nil {
		t.Errorf("removing again: %v", err)
	}
}

func TestLogRotation(t *testing.T) {
	n := newNode(t)
	s := n.spec("chatty", sh("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo oops >&2")...)
	s.Logs = sdk.LogLimits{MaxBytes: 8 << 10, Files: 3}
	_, out := n.run(s)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if lines[len(lines)-1] != "line 2999" || len(lines) >= 3000 || len(lines) < 300 {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
	for i, line := range lines {
		if line != fmt.Sprint("line ", 3000-len(lines)+i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if got := n.output(s, logfile.Stderr); got != "oops\n" {
		t.Errorf("stderr %q", got)
	}
}

func TestManyAtOnce(t *testing.T) {
	n := newNode(t)
	const many = 16
	done := make(chan error, many)
	begun := time.Now()
	for i := range many {
		go func() {
			s := n.spec(fmt.Sprint("t", i), sh(fmt.Sprintf("exit %d", i))...)
			err := n.Create(n.ctx, s)
			if err == nil {
				err = n.Start(n.ctx, s.ID)
			}
			done <- err
		}()
	}
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for i := range many {
		if e := n.end(sdk.TaskID(fmt.Sprint("t", i))); e.Code != int32(i) {
			t.Errorf("t%d: %+v", i, e)
		}
	}
	t.Logf("%d in %v", many, time.Since(begun))
}
