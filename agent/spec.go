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

// specOf resolves everything that a task is made of. Errors: Invalid.
func specOf(as *sdk.Assignment, got *fetched, host, node, logDir string) (*isolation.Spec, error) {
	t := as.Template
	s := &isolation.Spec{ID: as.Task, Limits: limitsOf(t), LogDir: logDir, Logs: t.Logs,
		HostPID:   slices.Contains(t.HostNamespaces, "pid"),
		HostIPC:   slices.Contains(t.HostNamespaces, "ipc"),
		HostUsers: slices.Contains(t.HostNamespaces, "users")}
	if t.Network == sdk.NetworkPrivate {
		s.PrivateNetwork, s.Publish = true, as.Ports
	}
	for _, v := range t.Volumes {
		m := isolation.Mount{Name: v.Name, Path: v.Path, ReadOnly: v.ReadOnly, Ephemeral: v.Ephemeral}
		if v.Host != nil {
			m.Host = v.Host.Path
		}
		s.Mounts = append(s.Mounts, m)
	}
	for _, d := range t.HostDevices {
		s.Devices = append(s.Devices, isolation.Device{Host: d.Path, Path: d.Path, Access: or(d.Access, "rw")})
	}
	var err error
	switch {
	case t.Run.Wasm != nil:
		s.Program = moduleProgram(as, got.own, environment(as, t.Env, nil, host, node), s.Limits.Memory)
	case t.Run.Process != nil:
		s.Program = processProgram(as, environment(as, t.Env, nil, host, node))
	default:
		s.Warm = true
		s.Program, err = containerProgram(t.Run.Container, got.own, environment(as, t.Env, got.own.Config.Env, host, node))
	}
	for i := 0; i < len(t.Sidecars) && err == nil; i++ {
		side := &t.Sidecars[i]
		img := got.sidecars[i]
		var p isolation.Program
		p, err = containerProgram(&side.Container, img, environment(as, side.Env, img.Config.Env, host, node))
		p.Name = side.Name
		p.Limits = isolation.Limits{CPUQuota: int64(side.Limits.CPUs), Memory: side.Limits.Mem, Pids: side.Limits.Pids}
		s.Sidecars = append(s.Sidecars, p)
	}
	return s, err
}

// containerProgram is a container made from an image. Errors: Invalid.
func containerProgram(c *sdk.Container, img *image.Image, env []string) (isolation.Program, error) {
	conf := img.Config
	args := slices.Concat(conf.Entrypoint, conf.Cmd)
	switch {
	case len(c.Command) > 0:
		args = slices.Concat(c.Command, c.Args)
	case len(c.Args) > 0:
		args = slices.Concat(conf.Entrypoint, c.Args)
	}
	if len(args) == 0 {
		return isolation.Program{}, sdk.Errorf(sdk.Invalid, "image", "%s has no command of its own", c.Image).
			ToFix("give the task a command")
	}
	return isolation.Program{
		Layers: img.Layers, ReadOnly: c.ReadOnly,
		Args: expandAll(args, env), Env: env,
		WorkDir: or(c.WorkDir, or(conf.WorkingDir, "/")), User: or(c.User, conf.User),
		Capabilities: c.Capabilities,
	}, nil
}

// processProgram is a program of the node's own files.
func processProgram(as *sdk.Assignment, env []string) isolation.Program {
	p := as.Template.Run.Process
	return isolation.Program{HostRoot: true, Args: expandAll(p.Command, env), Env: env,
		WorkDir: or(p.WorkDir, "/"), User: or(p.User, "0:0"), Capabilities: p.Capabilities}
}

func expandAll(args, env []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = expand(a, env)
	}
	return out
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

// environment is the image's, base, then the document's, own, then what the node
// knows better than either. HOST stays the document's if it sets it: programs
// use the name for settings of their own.
func environment(as *sdk.Assignment, own []sdk.EnvVar, base []string, host, node string) []string {
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
	for _, e := range own {
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
	for _, e := range own {
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
	case as.Template.Run == sdk.Run{}:
		return sdk.Errorf(sdk.Invalid, "task", "its template does not say what to run").
			Because("this agent runs containers, processes and modules").ToFix("upgrade the agent if it is older than the servers")
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
