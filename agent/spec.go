package agent

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// defaultPath is what a task searches for programs when its image says nothing.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// specOf resolves everything that a container is made of. Errors: Invalid.
func specOf(as *sdk.Assignment, img *image.Image, host, node, logDir string) (*isolation.Spec, error) {
	t := as.Template
	if t.Run.Wasm != nil {
		s := &isolation.Spec{ID: as.Task, Limits: limitsOf(t), LogDir: logDir, Logs: t.Logs}
		s.Program = moduleProgram(as, img, environment(as, nil, host, node), s.Limits.Memory)
		return s, nil
	}
	c := t.Run.Container
	conf := img.Config
	args := slices.Concat(conf.Entrypoint, conf.Cmd)
	switch {
	case len(c.Command) > 0:
		args = slices.Concat(c.Command, c.Args)
	case len(c.Args) > 0:
		args = slices.Concat(conf.Entrypoint, c.Args)
	}
	if len(args) == 0 {
		return nil, sdk.Errorf(sdk.Invalid, "image", "%s has no command of its own", c.Image).
			ToFix("give the task a command")
	}
	env := environment(as, conf.Env, host, node)
	for i := range args {
		args[i] = expand(args[i], env)
	}
	return &isolation.Spec{
		ID: as.Task,
		Program: isolation.Program{
			Layers: img.Layers, ReadOnly: c.ReadOnly,
			Args: args, Env: env,
			WorkDir: or(c.WorkDir, or(conf.WorkingDir, "/")), User: or(c.User, conf.User),
			Capabilities: c.Capabilities,
		},
		Limits: limitsOf(t),
		LogDir: logDir, Logs: t.Logs, Warm: true,
	}, nil
}

// limitsOf resolves what bounds a task of the template.
func limitsOf(t *sdk.Template) isolation.Limits {
	l := t.Limits
	mem := l.Mem
	if mem == 0 {
		mem = t.Resources.Get(sdk.Mem)
	}
	disk := l.Disk
	if disk == 0 {
		disk = t.Resources.Get(sdk.Disk)
	}
	return isolation.Limits{
		CPUWeight: t.Resources.Get(sdk.CPUs), CPUQuota: int64(l.CPUs),
		Memory: mem, Reservation: t.Resources.Get(sdk.Mem), Swap: l.Swap,
		Pids: l.Pids, Disk: disk, IO: l.IO, Hugepages: l.Hugepages, Rlimits: l.Rlimits,
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// environment is the image's, then the template's, then what the node knows
// better than either. HOST stays the template's if it sets it: programs use the
// name for settings of their own.
func environment(as *sdk.Assignment, base []string, host, node string) []string {
	var env []string
	set := func(name, value string) {
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		env = append(env, name+"="+value)
	}
	env = append(env, defaultPath)
	set("HOST", host)
	for _, e := range base {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" {
			set(name, value)
		}
	}
	for _, e := range as.Template.Env {
		set(e.Name, e.Value)
	}
	for i, p := range as.Ports {
		port := strconv.Itoa(int(p.Port))
		set("PORT"+strconv.Itoa(i), port)
		set("PORT_"+strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_")), port)
	}
	set("DRUPE_TASK", string(as.Task))
	set("DRUPE_NODE", node)
	set("DRUPE_DOCUMENT", as.Ref.String())
	for _, e := range as.Template.Env {
		if v := expand(e.Value, env); v != e.Value {
			set(e.Name, v)
		}
	}
	return env
}

// checkTemplate finds what can never run. Errors: Invalid.
func checkTemplate(as *sdk.Assignment) error {
	switch {
	case !safeID(as.Task):
		return sdk.Errorf(sdk.Invalid, "task", "the id %q cannot name a folder", as.Task)
	case as.Template == nil:
		return sdk.Errorf(sdk.Invalid, "task", "it came without a template")
	case as.Template.Run.Container == nil && as.Template.Run.Wasm == nil:
		return sdk.Errorf(sdk.Invalid, "task", "its template does not say what to run").
			Because("this agent runs containers and modules").ToFix("upgrade the agent if it is older than the servers")
	}
	return nil
}

// signalOf reads an image's stop signal: "SIGINT", "INT" or "2". 0 when it is
// none.
func signalOf(s string) int32 {
	if s == "" {
		return 0
	}
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return int32(n)
	}
	s = strings.ToUpper(s)
	if !strings.HasPrefix(s, "SIG") {
		s = "SIG" + s
	}
	return int32(unix.SignalNum(s))
}
