package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// secret is what a canary on the machine holds.
const secret = "only the machine's own root may read this"

// TestTraps starts containers whose images are made to lead whoever starts them
// astray. Each is refused with a reason, or harmless: nothing of the machine is
// read, written or made.
func TestTraps(t *testing.T) {
	watch(t)
	n := newNode(t)
	outside := t.TempDir()
	canary := filepath.Join(outside, "canary")
	if err := os.WriteFile(canary, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 12)
	const harmless = sdk.ReasonNone
	link := func(at, to string) func(string) error {
		return func(root string) error {
			at := filepath.Join(root, at)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				return err
			}
			return os.Symlink(to, at)
		}
	}
	tests := []struct {
		name   string
		plant  func(root string) error
		reason sdk.Reason
		edit   func(*isolation.Spec)
	}{
		{"dev-link", link("dev", outside), sdk.ReasonImageInvalid, nil},
		{"dev-link-up", link("dev", up+outside), sdk.ReasonImageInvalid, nil},
		{"dev-link-inside", link("dev", "etc"), sdk.ReasonImageInvalid, nil},
		{"proc-link", link("proc", outside), sdk.ReasonImageInvalid, nil},
		{"proc-link-inside", link("proc", "tmp"), sdk.ReasonImageInvalid, nil},
		{"sys-link", link("sys", outside), sdk.ReasonImageInvalid, nil},
		{"proc-file", func(root string) error { return os.WriteFile(filepath.Join(root, "proc"), nil, 0o644) }, sdk.ReasonImageInvalid, nil},
		{"dev-null-link", link("dev/null", canary), harmless, nil},
		{"dev-null-sysctl", link("dev/null", "/proc/sys/kernel/core_pattern"), harmless, nil},
		{"dev-console-link", link("dev/console", canary), harmless, nil},
		{"dev-pts-link", link("dev/pts", outside), harmless, nil},
		{"dev-ptmx-link", link("dev/ptmx", canary), harmless, nil},
		{"dev-shm-link", link("dev/shm", outside), harmless, nil},
		{"dev-mqueue-link", link("dev/mqueue", outside), harmless, nil},
		{"dev-fd-link", link("dev/fd", outside), harmless, nil},
		{"cgroup-link", link("sys/fs/cgroup", outside), harmless, nil},
		{"sysrq-link", link("proc/sysrq-trigger", canary), harmless, nil},
		{"proc-sys-link", link("proc/sys", outside), harmless, nil},
		{"resolv-link", link("etc/resolv.conf", canary), harmless, nil},
		{"resolv-link-up", link("etc/resolv.conf", up+canary), harmless, nil},
		{"resolv-link-new", link("etc/resolv.conf", filepath.Join(outside, "made")), harmless, nil},
		{"resolv-loop", link("etc/resolv.conf", "resolv.conf"), sdk.ReasonStartFailed, nil},
		{"hosts-proc-link", link("etc/hosts", "/proc/1/root/proc/sys/kernel/core_pattern"), sdk.ReasonStartFailed, nil},
		{"etc-link", func(root string) error {
			if err := os.RemoveAll(filepath.Join(root, "etc")); err != nil {
				return err
			}
			return os.Symlink(outside, filepath.Join(root, "etc"))
		}, harmless, nil},
		{"passwd-link", link("etc/passwd", canary), sdk.ReasonInvalidTemplate, func(s *isolation.Spec) { s.Program.User = "root" }},
		{"passwd-link-up", link("etc/passwd", up+"etc/passwd"), sdk.ReasonInvalidTemplate, func(s *isolation.Spec) { s.Program.User = "root" }},
		{"passwd-pipe", func(root string) error { return unix.Mkfifo(filepath.Join(root, "etc/passwd"), 0o644) },
			sdk.ReasonInvalidTemplate, func(s *isolation.Spec) { s.Program.User = "root" }},
		{"workdir-descriptor", nil, sdk.ReasonInvalidTemplate, func(s *isolation.Spec) { s.Program.WorkDir = "/proc/self/fd/7" }},
		{"workdir-climb", nil, sdk.ReasonInvalidTemplate, func(s *isolation.Spec) { s.Program.WorkDir = "/tmp/../proc/self/fd/8/../../.." }},
		{"workdir-link", link("w", outside), sdk.ReasonStartFailed, func(s *isolation.Spec) { s.Program.WorkDir = "/w" }},
		{"program-link", link("p", "/proc/self/exe"), harmless, func(s *isolation.Spec) { s.Program.Args[0] = "/p" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			s := n.spec(tt.name, argSay, "read", canary)
			s.Program.Layers = append(s.Program.Layers, plant(t, tt.plant))
			if tt.edit != nil {
				tt.edit(s)
			}
			err := n.Create(n.ctx, s)
			if got := isolation.ReasonOf(err); got != tt.reason {
				t.Errorf("got %v (%v), want %v", got, err, tt.reason)
			}
			if err != nil {
				t.Log(err)
			} else {
				pid := n.find(s.ID).PID
				for _, at := range []string{"proc", "sys", "dev", "dev/pts", "dev/shm"} {
					if !isMount(t, pid, "/"+at) {
						t.Errorf("nothing is mounted at /%s", at)
					}
				}
				if err := n.Start(n.ctx, s.ID); err != nil {
					t.Errorf("start: %v", err)
				} else {
					n.end(s.ID)
				}
				if out := n.output(s); strings.Contains(out, secret) {
					t.Errorf("it printed %q", out)
				}
				if err := n.Remove(n.ctx, s.ID); err != nil {
					t.Error(err)
				}
			}
			if b, err := os.ReadFile(canary); err != nil || string(b) != secret {
				t.Errorf("the canary is now %q (%v)", b, err)
			}
			list, err := os.ReadDir(outside)
			if err != nil || len(list) != 1 {
				t.Errorf("made outside: %v (%v)", list, err)
			}
		})
	}
	n.t = t
}

// plant makes a layer above the usual one. A layer that has nothing of the
// folders that it links away hides them.
func plant(t *testing.T, f func(root string) error) string {
	t.Helper()
	root := t.TempDir()
	// Everybody's to enter, as a container's user ids are none of this machine.
	for _, dir := range []string{root, filepath.Dir(root)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if f == nil {
		return root
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := f(root); err != nil {
		t.Fatal(err)
	}
	return root
}

// isMount reports whether something is mounted at the path in a process's
// namespace.
func isMount(t *testing.T, pid int32, path string) bool {
	t.Helper()
	for _, line := range mountLines(t, pid) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == path {
			return true
		}
	}
	return false
}
