package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestDemo runs what "make demo" runs, to its end and ended in every way at
// several moments. Nothing is ever left.
func TestDemo(t *testing.T) {
	program := filepath.Join(base, "demo")
	build := exec.Command("go", "build", "-o", program, "./examples/demo")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := func(t *testing.T, more ...string) (*cluster, *process) {
		c := newCluster(t)
		args := append([]string{"-drupe", drupe, "-examples", filepath.Join(root, "examples"), "-cache", filepath.Join(root, ".build", "cache")}, more...)
		return c, c.startCommand("demo", exec.Command(program, args...), 0)
	}
	clean := func(c *cluster) {
		c.t.Helper()
		var left []string
		ok := again(func() bool { left = leftovers(); return len(left) == 0 })
		if !ok {
			c.t.Errorf("left: %s", strings.Join(left, "\n"))
		}
	}

	t.Run("whole", func(t *testing.T) {
		c, p := start(t, "-exit")
		<-p.ended
		if code := p.cmd.ProcessState.ExitCode(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		for _, text := range []string{"hello from hello.", "replaced, and healthy", " requests, 0 failed", "all lack cpus"} {
			if !strings.Contains(p.output(), text) {
				t.Errorf("it does not say %q", text)
			}
		}
		clean(c)
	})
	for _, x := range []struct {
		at     string // what it says when it is ended; "": as soon as the cluster has a folder
		who    string
		signal syscall.Signal
		code   int // -1: killed
	}{
		{"", "demo", syscall.SIGINT, 130},
		{"", "demo", syscall.SIGKILL, -1},
		{"", "dev", syscall.SIGKILL, 1},
		{"drupe ps", "dev", syscall.SIGKILL, 1},
		{"kill -9", "demo", syscall.SIGTERM, 130},
		{"drupe scale", "demo", syscall.SIGKILL, -1},
		{"until Ctrl-C", "demo", syscall.SIGINT, 0},
		{"until Ctrl-C", "dev", syscall.SIGKILL, 1},
	} {
		t.Run(fmt.Sprintf("%s %s at %s", x.who, x.signal, x.at), func(t *testing.T) {
			c, p := start(t)
			p.says(x.at)
			c.until("the cluster's folder", func() bool {
				folders, _ := filepath.Glob(filepath.Join(base, "drupe-dev-*"))
				return len(folders) > 0
			})
			watchKeepers(filepath.Join(base, "drupe-dev-*", "n*", "keeper"))
			target := p.cmd.Process.Pid
			if x.who == "dev" {
				target = child(t, target, "dev\x00--agents")
			}
			if err := syscall.Kill(target, x.signal); err != nil {
				t.Fatal(err)
			}
			<-p.ended
			if code := p.cmd.ProcessState.ExitCode(); code != x.code {
				t.Errorf("exit code %d, want %d", code, x.code)
			}
			clean(c)
		})
	}
}

// child returns the child of a process that has a text in its command line.
func child(t *testing.T, parent int, text string) int {
	t.Helper()
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range list {
		dir := filepath.Dir(f)
		line, _ := os.ReadFile(f)
		stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(parent) && strings.Contains(string(line), text) {
			pid, _ := strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	t.Fatalf("process %d has no child with %q", parent, text)
	return 0
}
