package runc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// smallDisk mounts a disk of half a megabyte. fill uses it up, and what fill
// returns frees it again.
func smallDisk(t *testing.T) (dir string, fill func() (free func())) {
	dir = t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=512k,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir, func() func() {
		name := filepath.Join(dir, "filler")
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, size := range []int{4096, 1} {
			for err = nil; err == nil; {
				_, err = f.Write(make([]byte, size))
			}
		}
		return func() { os.Remove(name) }
	}
}

// A full disk under the state folder refuses new containers with that reason
// and harms none that run.
func TestStateDiskFull(t *testing.T) {
	dir, fill := smallDisk(t)
	n := newNode(t, func(c *runc.Config) { c.StateDir = filepath.Join(dir, "state") })
	s := n.spec("a", sh("echo up; trap 'exit 3' TERM; while :; do busybox usleep 1000; done")...)
	n.begin(s)
	n.line(s, "up")
	free := fill()
	err := n.Create(n.ctx, n.spec("b", "/bin/busybox", "true"))
	if isolation.ReasonOf(err) != sdk.ReasonDiskFull || sdk.KindOf(err) != sdk.Exhausted {
		t.Errorf("on a full disk: %v", err)
	}
	n.Signal(n.ctx, "a", int(syscall.SIGTERM), false)
	if e := n.end("a"); e.Code != 3 || !e.Known {
		t.Errorf("%+v", e)
	}
	free()
	if e, _ := n.run(n.spec("b", "/bin/busybox", "true")); e.Code != 0 || !e.Known {
		t.Errorf("with room again: %+v", e)
	}
}

// A full disk under the logs does not hold the task up; what is lost is
// counted.
func TestLogDiskFull(t *testing.T) {
	dir, fill := smallDisk(t)
	n := newNode(t)
	// Prints more than the pipe holds, and then becomes another program.
	s := n.spec("a", sh("busybox seq 9 >&2; echo first; trap 'busybox seq 100000; exec busybox sleep 1000' USR1; while :; do busybox usleep 1000; done")...)
	s.LogDir = filepath.Join(dir, "logs")
	n.begin(s)
	n.line(s, "first")
	free := fill()
	n.Signal(n.ctx, "a", int(syscall.SIGUSR1), false)
	pid := n.find("a").PID
	n.until("all to be printed", func() bool {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return strings.HasPrefix(string(b), "busybox\x00sleep")
	})
	free()
	n.Signal(n.ctx, "a", int(syscall.SIGKILL), false)
	if e := n.end("a"); e.Code != 137 || !e.Known {
		t.Errorf("%+v", e)
	}
	out := n.output(s, logfile.Stdout)
	if !strings.Contains(out, "records lost: no space left on device\n") || !strings.HasPrefix(out, "first\n") || len(out) > 512<<10 {
		t.Errorf("%d bytes: %.60q … %q", len(out), out, out[max(0, len(out)-60):])
	}
}
