package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// TestBombs uses up, in one container each, everything there is. All of it is
// bounded, the exit says by what, and the next task finds the machine as it
// was.
func TestBombs(t *testing.T) {
	n := newNode(t)
	said := func(e *isolation.Exit, out, name string) (made int, how string) {
		f := strings.Split(strings.TrimSpace(out[max(0, strings.LastIndex(out, name+"\t")):]), "\t")
		if len(f) == 3 {
			fmt.Sscan(f[1], &made)
			how = f[2]
		}
		return made, how
	}
	oom := func(t *testing.T, e *isolation.Exit, made int, how string) {
		if !e.OOM || e.Peak < 16<<20 || e.Peak > 49<<20 {
			t.Errorf("%+v", e)
		}
	}
	bounded := func(most int) func(*testing.T, *isolation.Exit, int, string) {
		return func(t *testing.T, e *isolation.Exit, made int, how string) {
			if made == 0 || made > most || how == "<nil>" || e.OOM {
				t.Errorf("%d of %d, ended with %q, %+v", made, most, how, e)
			}
		}
	}
	tests := []struct {
		name string
		want func(t *testing.T, e *isolation.Exit, made int, how string)
	}{
		{"processes", func(t *testing.T, e *isolation.Exit, made int, how string) {
			if !e.PidsHit || made > 64 {
				t.Errorf("%d processes, %+v", made, e)
			}
		}},
		{"threads", func(t *testing.T, e *isolation.Exit, made int, how string) {
			if !e.PidsHit || made == 0 || made > 64 {
				t.Errorf("%d processes (%s), %+v", made, how, e)
			}
		}},
		{"descriptors", bounded(1 << 20)},
		{"terminals", bounded(256 + 1)}, // with the one that was refused,
		{"memory", oom},
		{"shm", oom},
		{"memfd", oom},
		{"sysv", oom},
		{"files", oom},
		{"dev", func(t *testing.T, e *isolation.Exit, made int, how string) {
			if !strings.Contains(how, "no space") {
				t.Errorf("%d MB, %q, %+v", made, how, e)
			}
		}},
		{"output", func(t *testing.T, e *isolation.Exit, made int, how string) {
			var size int64
			filepath.WalkDir(filepath.Join(n.dir, "logs/output"), func(path string, d fs.DirEntry, err error) error {
				if info, err := d.Info(); err == nil && !d.IsDir() {
					size += info.Size()
				}
				return nil
			})
			if e.Code != 0 || size == 0 || size > 4<<20 {
				t.Errorf("64 MB of output are %d bytes of logs, %+v", size, e)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n.t = t
			s := n.spec(tt.name, argBomb, tt.name)
			s.Limits.Memory, s.Limits.Pids = 48<<20, 64
			s.Logs = sdk.LogLimits{MaxBytes: 1 << 20, Files: 2}
			e, out := n.run(s)
			made, how := said(e, out, tt.name)
			t.Logf("%d, %s, code %d", made, how, e.Code)
			tt.want(t, e, made, how)
			if e, out := n.run(n.spec("after-"+tt.name, argSay, "nothing")); e.Code != 0 || !e.Known {
				t.Errorf("the next task: %+v %q", e, out)
			}
		})
	}
	n.t = t
}

// A crash leaves no memory image, neither as a file nor to a program of the
// machine's.
func TestNoCores(t *testing.T) {
	n := newNode(t)
	s := n.spec("crash", argBomb, "crash")
	if err := n.begin(s); err != nil {
		t.Fatal(err)
	}
	e := n.end(s.ID)
	if e.Code == 0 {
		t.Errorf("%+v", e)
	}
	if out := n.output(s); !strings.Contains(out, "core 1 1\n") && !strings.Contains(out, "core 0 0\n") {
		t.Errorf("its limit is %q", out)
	}
	if list, _ := filepath.Glob(filepath.Join(n.dir, "state/tasks/crash/*/tmp/core*")); len(list) > 0 {
		t.Errorf("left: %v", list)
	}
}
