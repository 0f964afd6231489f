package bundle

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// kernels are the folders of a container in which the kernel shows itself. The
// container's own protection is made of mounts in them.
var kernels = []string{"/proc", "/sys", "/dev"}

// guard refuses paths that would lead a container around its own protection.
func guard(s *isolation.Spec, p *isolation.Program) error {
	subject := "task/" + string(s.ID)
	// A working folder there could be a descriptor, and with it a folder of the
	// machine.
	if in := within(p.WorkDir); in == "/proc" || in == "/sys" {
		return sdk.Errorf(sdk.Invalid, subject, "working folder %q is below %s", p.WorkDir, in).At("work_dir").
			Because("a process may not begin in a folder that the kernel makes up").
			ToFix("begin in a folder of the image")
	}
	return CheckMounts(s)
}

// within returns which of the kernel's folders the path is or leads into, if
// no link is on the way.
func within(name string) string {
	name = path.Clean("/" + name)
	for _, k := range kernels {
		if name == k || strings.HasPrefix(name, k+"/") {
			return k
		}
	}
	return ""
}

// taskOOMScore makes the kernel, when the machine itself is short of memory,
// rather kill a task than what runs the tasks.
const taskOOMScore = 300

// oomScore returns the oom_score_adj of a task's processes. It can only be
// raised by who may not do everything.
func oomScore(h Host) *int {
	score := max(taskOOMScore, h.OOMScore)
	return &score
}

// withoutCores adds that a crash leaves no memory image, unless the task asked
// for another limit. One byte means that, and 0 does not: where the machine's
// core_pattern is a program, the kernel runs that as the machine's root, fed by
// the container, even for a limit of 0.
func withoutCores(asked []specs.POSIXRlimit, h Limiter) []specs.POSIXRlimit {
	for _, r := range asked {
		if r.Type == "core" {
			return asked
		}
	}
	least := uint64(1)
	if most, bounded := h.Rlimits["core"]; bounded {
		least = min(least, most)
	}
	return append(slices.Clone(asked), specs.POSIXRlimit{Type: "core", Soft: least, Hard: least})
}
