package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	devices "github.com/opencontainers/cgroups/devices/config"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/bundle"
	"github.com/drupe-os/drupe/sdk"
)

// create makes a container up to the point where its program would be
// executed. What it made of one that fails is gone when it returns.
func (k *keeper) create(s *isolation.Spec) error {
	if err := validID(s.ID); err != nil {
		return err
	}
	if err := checkSidecars(s); err != nil {
		return explain(s.ID, err)
	}
	if err := bundle.CheckMounts(s); err != nil {
		return explain(s.ID, err)
	}
	t := &task{id: s.ID, dir: filepath.Join(k.tasksDir, string(s.ID)), closed: make(chan struct{})}
	if err := k.reserve(t); err != nil {
		return err
	}
	like := likeness(s)
	if ready := k.warm.take(like); ready != nil {
		err := k.claim(ready, s)
		if err == nil {
			k.take(ready)
			k.warm.asked(like, s)
			return nil
		}
		logf("%s: a prepared container cannot be used: %v", s.ID, err)
		k.discard(ready)
	}
	if err := k.make(t, s); err != nil {
		k.forget(t.id)
		return explain(s.ID, err)
	}
	k.take(t)
	k.warm.asked(like, s)
	return nil
}

// take has the task's end noticed, and tells of it from now on.
func (k *keeper) take(t *task) {
	k.publish(t)
	k.protect()
	go func() {
		t.finish(k.tell)
		k.protect()
	}()
}

func (k *keeper) make(t *task, s *isolation.Spec) (err error) {
	if err := os.Mkdir(t.dir, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(t.dir)
		}
	}()
	t.rec = record{Spec: s, Boot: k.boot}
	if t.stub != nil {
		t.rec.Name = string(t.id)
	}
	t.addPrograms()
	if t.rec.Cgroups, err = cgroupPaths(k.cgroupOf(t)); err != nil {
		return err
	}
	if err := t.saveRecord(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			t.unmake()
		}
	}()
	if err := k.bound(s.ID, k.cgroupOf(t), &s.Limits); err != nil {
		return err
	}
	mount := strconv.FormatUint(k.mounts.Add(1), 36)
	defer k.roots.unmount(mount)
	dir, err := k.makeRoom(t, mount)
	if err != nil {
		return err
	}
	name := strconv.FormatUint(k.mounts.Add(1), 36)
	defer k.roots.unmount(name)
	src, err := k.ready(t, name, dir)
	if err != nil {
		return err
	}
	// The task's own program first: its namespaces are those that the sidecars
	// join.
	for _, p := range t.programs() {
		if err := k.launch(t, p, dir, src); err != nil {
			return err
		}
	}
	// What was made so far for the programs is not their doing.
	if err := t.room.fit(dir); err != nil {
		return err
	}
	if t.published, err = publish(t.id, t.own.trace.PID, s.Publish); err != nil {
		return err
	}
	if t.stub != nil {
		return nil // whose output it is shows later
	}
	for _, p := range t.programs() {
		p.out.start(s, p)
	}
	return nil
}

func (k *keeper) cgroupOf(t *task) string { return k.cgroup + "/" + t.name() }

// unmake ends and frees what there is of a task that cannot be made.
func (t *task) unmake() {
	t.published.close()
	killCgroup(t.rec.Cgroups)
	for _, p := range t.programs() {
		if p.proc != nil {
			p.kill()
			p.proc.Wait()
		}
		p.free()
		if p.out != nil {
			p.out.close()
		}
	}
	t.room.close()
	removeCgroups(t.rec.Cgroups)
}

// launch makes the container of a program of the task, whose files are in room.
func (k *keeper) launch(t *task, p *program, room string, src sources) error {
	s := t.rec.Spec
	dir := p.dir
	if t.room.handle != nil {
		dir = filepath.Join(room, p.leaf())
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if p != t.own {
		limits := p.spec.Limits
		if limits.CPUWeight == 0 {
			limits.CPUWeight = 1000 // as much as the task's own
		}
		if err := k.bound(t.id, k.cgroupOf(t)+"/"+p.leaf(), &limits); err != nil {
			return err
		}
	}
	if p.spec.HostRoot && k.roots.shift(s).ns == nil {
		return &isolation.Error{Reason: sdk.ReasonUnsupported, Err: sdk.Errorf(sdk.Unsupported, "task/"+string(s.ID),
			"a program of the node's own files cannot run here").
			Because("without user ids of its own it would read what only the node's root may").
			ToFix("do not ask for the host's users, or run it on a node that has user namespaces")}
	}
	mount := strconv.FormatUint(k.mounts.Add(1), 36)
	defer k.roots.unmount(mount)
	root, err := k.roots.mount(mount, dir, p.spec, k.roots.shift(s))
	if err != nil {
		return err
	}
	if err := sound(s.ID, root); err != nil {
		return err
	}
	if err := mountpoints(s, root, src, k.roots.shift(s)); err != nil {
		return err
	}
	user, err := resolveUser(s.ID, p.spec.User, root)
	if err != nil {
		return err
	}
	host := k.host(root, t, p)
	host.Mounts, host.Shm, host.Proc = src.mounts, src.shm, src.proc
	if host.Nodes, err = nodes(s); err != nil {
		return err
	}
	spec, err := bundle.Spec(s, k.clamp(t, p.spec), user, host)
	if err != nil {
		return err
	}
	if p == t.own {
		_, lowered, _ := bundle.Rlimits(s.ID, s.Limits.Rlimits, k.limiter)
		for _, note := range lowered {
			t.note("%s", note)
		}
	}
	config, err := configure(spec)
	if err != nil {
		return err
	}
	out, theirs, err := newOutput()
	if err != nil {
		return err
	}
	defer closeAll(theirs)
	p.out, p.trace.Pipes = out, out.inodes
	if p.ctr, err = libcontainer.Create(k.runcDir, p.id, config); err != nil {
		return err
	}
	proc := process(spec, theirs)
	if t.stub != nil {
		proc.Args, proc.Env, proc.ExtraFiles = stubArgs, nil, t.given
	}
	if err := p.ctr.Start(proc); err != nil {
		return err
	}
	p.proc = proc
	return k.watch(t, p)
}

// watch makes the keeper notice the end of a created container.
func (k *keeper) watch(t *task, p *program) (err error) {
	if p.trace.PID, err = p.proc.Pid(); err != nil {
		return err
	}
	if p.pidfd, err = openPidfd(p.trace.PID); err != nil {
		return err
	}
	if p.ended, err = k.exits.watch(p.pidfd); err != nil {
		return err
	}
	return t.saveRecord()
}

// configure makes libcontainer's own form of the specification.
func configure(spec *specs.Spec) (*configs.Config, error) {
	// The conversion writes the owners of device nodes into a list that is one
	// for the whole program: one at a time, and each takes a copy.
	converting.Lock()
	defer converting.Unlock()
	// No keyring for each: the kernel grants a user id 200 keys in all, tasks
	// have theirs in common, and the filter refuses them keys anyway.
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{Spec: spec, NoNewKeyring: true})
	if err != nil {
		return nil, err
	}
	// runc adds rules of its own after ours: any device node may be made, and
	// tunnels opened. No task here needs either.
	kept := config.Cgroups.Resources.Devices[:0]
	for _, r := range config.Cgroups.Resources.Devices {
		tunnel := r.Major == 10 && r.Minor == 200
		anyNode := r.Allow && r.Major == devices.Wildcard && r.Minor == devices.Wildcard
		if !tunnel && !anyNode {
			kept = append(kept, r)
		}
	}
	config.Cgroups.Resources.Devices = kept
	for i, d := range config.Devices {
		own := *d
		config.Devices[i] = &own
	}
	return config, nil
}

var converting sync.Mutex

func process(spec *specs.Spec, out [2]*os.File) *libcontainer.Process {
	p := &libcontainer.Process{
		Args: spec.Process.Args, Env: spec.Process.Env, Cwd: spec.Process.Cwd,
		UID: int(spec.Process.User.UID), GID: int(spec.Process.User.GID),
		Stdout: out[0], Stderr: out[1],
		Init: true,
	}
	for _, r := range spec.Process.Rlimits {
		p.Rlimits = append(p.Rlimits, configs.Rlimit{Type: bundle.RlimitNumbers[r.Type], Hard: r.Hard, Soft: r.Soft})
	}
	for _, g := range spec.Process.User.AdditionalGids {
		p.AdditionalGroups = append(p.AdditionalGroups, int(g))
	}
	return p
}

// host says what of this machine matters to a container.
func (k *keeper) host(root string, t *task, p *program) bundle.Host {
	h := bundle.Host{
		Root: root, Sys: filepath.Join(filepath.Dir(root), sysMount), Cgroup: k.cgroupOf(t),
		Limiter: k.limiter, IDs: k.roots.shift(t.rec.Spec).ids,
		OOMScore: int(number("/proc/self/oom_score_adj")), AppArmor: k.appArmor,
	}
	if len(t.sidecars) > 0 {
		h.Cgroup += "/" + p.leaf()
	}
	if p != t.own {
		h.Join = pidDir(t.own.trace.PID, "ns")
	}
	for _, f := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
			h.Files = append(h.Files, f)
		}
	}
	return h
}

// clamp returns p without the capabilities that this machine's own root lacks:
// asking for them would make every start fail.
func (k *keeper) clamp(t *task, p *isolation.Program) *isolation.Program {
	if k.roots.shift(t.rec.Spec).ids.Size > 0 || len(p.Capabilities) == 0 {
		return p // in its own user namespace root may have them all
	}
	c := *p
	c.Capabilities = nil
	for _, name := range p.Capabilities {
		if k.capabilities[name] {
			c.Capabilities = append(c.Capabilities, name)
		} else {
			t.note("capability %s is not this node's to give", name)
		}
	}
	return &c
}

// note keeps what the container has less of than was asked for.
func (t *task) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	logf("%s: %s", t.id, text)
	t.rec.Notes = append(t.rec.Notes, text)
}

// explain turns what a start failed with into a fault and the task's reason.
func explain(id sdk.TaskID, err error) error {
	var f *sdk.Fault
	var ie *isolation.Error
	if errors.As(err, &ie) {
		return ie
	}
	if errors.As(err, &f) {
		reason := sdk.ReasonStartFailed
		if f.Kind == sdk.Invalid {
			reason = sdk.ReasonInvalidTemplate
		}
		return &isolation.Error{Reason: reason, Err: f}
	}
	subject := "task/" + string(id)
	text := err.Error()
	// What happens inside the container comes out of it as text only.
	command := strings.Contains(text, "exec: ") || strings.Contains(text, "exec /")
	switch {
	case isErrno(err, syscall.ENOSPC, syscall.EDQUOT) || strings.Contains(text, "no space left on device"):
		return &isolation.Error{Reason: sdk.ReasonDiskFull, Err: sdk.Errorf(sdk.Exhausted, subject,
			"cannot be created: the node's disk is full").Because("%s", text).ToFix("free space on the node")}
	case command && (strings.Contains(text, "not found") || strings.Contains(text, "no such file")):
		return &isolation.Error{Reason: sdk.ReasonCommandNotFound, Err: sdk.Errorf(sdk.Invalid, subject,
			"its command is not in the image").Because("%s", last(text)).ToFix("check the command's path and the image")}
	case command && (strings.Contains(text, "permission denied") || strings.Contains(text, "is a directory")):
		return &isolation.Error{Reason: sdk.ReasonCommandDenied, Err: sdk.Errorf(sdk.Invalid, subject,
			"its command cannot be executed").Because("%s", last(text)).ToFix("make the file executable for the task's user")}
	}
	return &isolation.Error{Reason: sdk.ReasonStartFailed, Err: sdk.Errorf(sdk.Internal, subject,
		"cannot be created").Because("%s", text)}
}

// last returns the innermost part of a chain of errors in text.
func last(text string) string {
	if i := strings.Index(text, "exec: "); i >= 0 {
		return text[i:]
	}
	return text
}

// validID keeps ids to what may name a folder and a cgroup.
func validID(id sdk.TaskID) error {
	ok := len(id) > 0 && len(id) <= 128 && id[0] != '.' && id[0] != '-'
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-', c == '_', c == '.', c == '+':
		default:
			ok = false
		}
	}
	if !ok {
		return &isolation.Error{Reason: sdk.ReasonInvalidTemplate,
			Err: sdk.Errorf(sdk.Invalid, "task", "%.140q cannot name a container", id).
				ToFix("use letters, digits, and - _ . + within, 128 at most")}
	}
	return nil
}
