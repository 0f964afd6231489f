package keeper

import (
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
)

// program is one container of a task: the task's own or a sidecar's.
type program struct {
	// id is what libcontainer knows it by, and what the log says: a sidecar's
	// begins with a dot, as no task's does.
	id string
	// dir holds its files; that of the task's own is the task's.
	dir  string
	spec *isolation.Program
	// trace lies in the task's record.
	trace *trace

	ctr   *libcontainer.Container
	proc  *libcontainer.Process // nil when another keeper created it
	pidfd *os.File
	out   *output
	ended <-chan struct{} // its first process has
	// unsure: nobody saw whether the program was ever executed, so the code of
	// what ended is perhaps not its own.
	unsure bool
}

// addPrograms lists what the task of its record is made of.
func (t *task) addPrograms() {
	s := t.rec.Spec
	t.own = &program{id: t.name(), dir: t.dir, spec: &s.Program, trace: &t.rec.trace}
	if n := len(s.Sidecars); len(t.rec.Sidecars) != n {
		t.rec.Sidecars = make([]trace, n)
	}
	t.sidecars = nil
	for i := range s.Sidecars {
		side := &s.Sidecars[i]
		t.sidecars = append(t.sidecars, &program{
			id: "." + side.Name + "." + string(t.id), dir: filepath.Join(t.dir, sidecarsFolder, side.Name),
			spec: side, trace: &t.rec.Sidecars[i],
		})
	}
}

// sidecarsFolder holds a folder for each sidecar, within the task's.
const sidecarsFolder = "sidecars"

// programs returns all of the task: its own first.
func (t *task) programs() []*program {
	return append([]*program{t.own}, t.sidecars...)
}

// cgroups are the program's own: those of the task, or below them where others
// are beside it.
func (t *task) cgroups(p *program) map[string]string {
	if len(t.sidecars) == 0 {
		return t.rec.Cgroups
	}
	own := map[string]string{}
	for controller, dir := range t.rec.Cgroups {
		own[controller] = filepath.Join(dir, p.leaf())
	}
	return own
}

// leaf is the name of its cgroup below the task's.
func (p *program) leaf() string {
	if p.spec.Name == "" {
		return "own"
	}
	return "sidecar-" + p.spec.Name
}

// executed reports whether its program runs or has run.
func (p *program) executed() bool {
	status, err := p.ctr.Status()
	return err == nil && status != libcontainer.Created
}

// kill ends it at once; that its end is noticed comes later.
func (p *program) kill() {
	if p.ctr != nil {
		p.ctr.Signal(unix.SIGKILL)
	}
}

// logDir is where the program's output goes.
func (p *program) logDir(s *isolation.Spec) string { return filepath.Join(s.LogDir, p.spec.Name) }

// status returns how the first process ended. It has.
func (p *program) status() *isolation.Exit {
	if p.unsure {
		return &isolation.Exit{}
	}
	if p.proc != nil {
		if st, _ := p.proc.Wait(); st != nil {
			if ws, ok := st.Sys().(syscall.WaitStatus); ok {
				return &isolation.Exit{Code: code(ws), Known: true}
			}
		}
		return &isolation.Exit{}
	}
	ws, ok := strangersStatus(p.pidfd, p.trace.PID)
	if !ok {
		return &isolation.Exit{}
	}
	return &isolation.Exit{Code: code(ws), Known: true}
}

// free gives up what the kernel holds for a container that has ended.
func (p *program) free() {
	if p.ctr != nil {
		root := p.ctr.Config().Rootfs
		if err := p.ctr.Destroy(); err != nil {
			logf("%s: %v", p.id, err)
		}
		// Sessions have made it anew, see spawn.
		unix.Rmdir(root)
		unix.Rmdir(filepath.Dir(root))
	}
	if p.pidfd != nil {
		p.pidfd.Close()
	}
}

func code(ws syscall.WaitStatus) int32 {
	if ws.Signaled() {
		return 128 + int32(ws.Signal())
	}
	return int32(ws.ExitStatus())
}
