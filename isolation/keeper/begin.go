package keeper

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// begun records that the task's programs were executed.
func (t *task) begun() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rec.Begun = true
	if err := t.saveRecord(); err != nil {
		logf("%s: %v", t.id, err) // the next keeper finds out, see finishStart
	}
}

// finishStart finishes a start that the keeper before was killed in, between
// deciding on it and noting that it was done. Each first process either waits
// still for a word to go on, or has had it and executes the program, or has
// found its keeper gone and ends; a stub does the latter two.
func (k *keeper) finishStart(t *task) {
	for _, p := range append(t.sidecars[:len(t.sidecars):len(t.sidecars)], t.own) {
		if p.ended != nil && !k.goOn(p, p == t.own && t.rec.Name != "") {
			logf("%s: it is not known whether its program was executed", p.id)
			p.unsure = true
		}
	}
	if !t.own.unsure {
		t.begun()
	}
}

// goOn has a first process go on and reports whether its program was surely
// executed.
func (k *keeper) goOn(p *program, stub bool) bool {
	var word *os.File
	if !stub {
		// libcontainer's first process opens this to write to, which waits for a
		// reader. It is removed after that: then the program is executed.
		name := filepath.Join(k.runcDir, p.id, "exec.fifo")
		fd, err := unix.Open(name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err == unix.ENOENT
		}
		word = os.NewFile(uintptr(fd), name)
		defer word.Close()
		defer os.Remove(name)
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(5 * time.Second)
	for {
		if word != nil {
			var b [1]byte
			if n, _ := unix.Read(int(word.Fd()), b[:]); n == 1 {
				return true
			}
		}
		if exe, err := os.Readlink(pidDir(p.trace.PID, "exe")); err == nil && !strings.HasPrefix(exe, firstProgram) {
			return true
		}
		select {
		case <-p.ended:
			return false
		case <-deadline:
			return false
		case <-tick.C:
		}
	}
}

// firstProgram is what the kernel calls this program when it runs from memory,
// as keeper, stub and first process of containers.
const firstProgram = "/memfd:drupe-keeper"
