// Package bundle says what a task's container is: it turns what an agent asks
// for into the specification that any OCI runtime understands. It is a pure
// function, so what a task may do on a machine can be read in its golden
// files.
//
// What is not asked for is not there: no capability, no device beyond the
// harmless ones, no system call outside the profile, no way to gain
// privileges, and nothing of /proc and /sys that would tell of the host or
// change it.
package bundle

import (
	"path"
	"slices"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// Host is what of the machine has a say in a container.
type Host struct {
	Root   string // where the root file system is mounted
	Cgroup string // the container's cgroup, as runc understands it
	// Sys is a mount of the host's /sys with nothing mounted in it. It is what
	// a container with user ids of its own sees in the host's network.
	Sys string
	// Limiter is what the machine can limit.
	Limiter
	// IDs are the host ids that the container's ids from 0 on are mapped to.
	// Size 0: no user namespace.
	IDs IDRange
	// Nodes are the task's devices on the host, in their order.
	Nodes []Node
	// Join is the folder of the namespaces that a sidecar shares with its task's
	// own program; "" for that one.
	Join string
	// OOMScore is the keeper's own oom_score_adj: a task's cannot be lower.
	OOMScore int
	// AppArmor is the profile for tasks that is loaded on the machine; "": none.
	AppArmor string
	// Mounts are the sources of the task's, in their order.
	Mounts []string
	// Shm is a /dev/shm that all containers of the task have; "": each its own.
	Shm string
	// Proc is a mount of the host's /proc with nothing mounted in it, for tasks
	// among the host's processes.
	Proc string
	// Files of the host to show in the container, read-only: name resolution.
	Files []string
}

// IDRange is a run of user and group ids of the host.
type IDRange struct {
	First uint32
	Size  uint32
}

// User is a task's user as numbers.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
}

// Spec returns the OCI specification of the container for p, a program of s, run
// by user on host. Errors: a fault of kind Invalid for what no container can be
// made of.
func Spec(s *isolation.Spec, p *isolation.Program, user User, h Host) (*specs.Spec, error) {
	if err := check(s, p, user, h); err != nil {
		return nil, err
	}
	caps := capabilities(p.Capabilities)
	none := []string{}
	rlimits, _, err := Rlimits(s.ID, s.Limits.Rlimits, h.Limiter)
	if err != nil {
		return nil, err
	}
	cwd := p.WorkDir
	if cwd == "" {
		cwd = "/"
	}
	spec := &specs.Spec{
		Version:  specs.Version,
		Hostname: Hostname(s.ID),
		Root:     &specs.Root{Path: h.Root, Readonly: p.ReadOnly},
		Process: &specs.Process{
			Args: p.Args,
			Env:  p.Env,
			Cwd:  cwd,
			User: specs.User{UID: user.UID, GID: user.GID, AdditionalGids: user.Groups},
			Capabilities: &specs.LinuxCapabilities{
				Bounding: caps, Effective: caps, Permitted: caps,
				// Without these two a program that is not root's would lose what
				// it was granted when it is executed.
				Inheritable: grantedTo(user, caps, none), Ambient: grantedTo(user, caps, none),
			},
			Rlimits:         withoutCores(rlimits, h.Limiter),
			NoNewPrivileges: true,
			OOMScoreAdj:     oomScore(h),
			ApparmorProfile: h.AppArmor,
		},
		Mounts: mounts(s, p, h),
		Linux: &specs.Linux{
			CgroupsPath:   h.Cgroup,
			Namespaces:    namespaces(s, h),
			MaskedPaths:   slices.Clone(maskedPaths),
			ReadonlyPaths: slices.Clone(readonlyPaths),
			// Limits are not here but in Settings: they change while it runs.
			Resources: &specs.LinuxResources{
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
			},
		},
	}
	if s.PrivateNetwork && h.Join == "" {
		// Nobody else is in this network whose ports could be taken.
		spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "0"}
	}
	if h.Join != "" {
		spec.Hostname = ""
	} else if h.IDs.Size > 0 {
		m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: h.IDs.First, Size: h.IDs.Size}}
		spec.Linux.UIDMappings, spec.Linux.GIDMappings = m, slices.Clone(m)
	}
	if err := volumes(spec, s, h); err != nil {
		return nil, err
	}
	if err := devices(spec, s, h); err != nil {
		return nil, err
	}
	filter, err := seccomp.GetDefaultProfile(spec)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "seccomp profile", "cannot be made: %v", err)
	}
	// Other ABIs of the machine then end at the filter's first check. That is
	// stricter than a profile for each, and halves the time of a start.
	if len(filter.Architectures) > 1 {
		filter.Architectures = filter.Architectures[:1]
	}
	spec.Linux.Seccomp = filter
	return spec, nil
}

func check(s *isolation.Spec, p *isolation.Program, user User, h Host) error {
	subject := "task/" + string(s.ID)
	if len(p.Args) == 0 || p.Args[0] == "" {
		return sdk.Errorf(sdk.Invalid, subject, "has no command").At("args").
			ToFix("give the task a command, or use an image that has one")
	}
	if p.WorkDir != "" && !strings.HasPrefix(p.WorkDir, "/") {
		return sdk.Errorf(sdk.Invalid, subject, "working folder %q is not an absolute path", p.WorkDir).At("work_dir")
	}
	if err := guard(s, p); err != nil {
		return err
	}
	for _, list := range [][]string{p.Args, p.Env, {p.WorkDir}} {
		for _, text := range list {
			if strings.IndexByte(text, 0) >= 0 {
				return sdk.Errorf(sdk.Invalid, subject, "%.40q holds a zero byte", text)
			}
		}
	}
	for _, env := range p.Env {
		if i := strings.IndexByte(env, '='); i <= 0 {
			return sdk.Errorf(sdk.Invalid, subject, "%.40q is not NAME=value", env).At("env")
		}
	}
	if h.IDs.Size > 0 && (user.UID >= h.IDs.Size || user.GID >= h.IDs.Size) {
		return sdk.Errorf(sdk.Invalid, subject, "user %d:%d is not below %d", user.UID, user.GID, h.IDs.Size).At("user").
			Because("tasks have user ids of their own, %d of them", h.IDs.Size)
	}
	for _, c := range p.Capabilities {
		if !known[c] {
			return sdk.Errorf(sdk.Invalid, subject, "%q is no capability", c).At("capabilities").
				ToFix("write it as in \"NET_BIND_SERVICE\"")
		}
	}
	return nil
}

// namespaces are the container's own ones, and of a sidecar those of its task.
func namespaces(s *isolation.Spec, h Host) []specs.LinuxNamespace {
	n := []specs.LinuxNamespace{
		{Type: specs.MountNamespace}, h.shared(specs.UTSNamespace, "uts"), {Type: specs.CgroupNamespace},
	}
	if !s.HostPID {
		n = append(n, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if !s.HostIPC {
		n = append(n, h.shared(specs.IPCNamespace, "ipc"))
	}
	if h.IDs.Size > 0 {
		n = append(n, h.shared(specs.UserNamespace, "user"))
	}
	if s.PrivateNetwork {
		n = append(n, h.shared(specs.NetworkNamespace, "net"))
	}
	return n
}

// shared is a namespace of the whole task.
func (h Host) shared(kind specs.LinuxNamespaceType, file string) specs.LinuxNamespace {
	n := specs.LinuxNamespace{Type: kind}
	if h.Join != "" {
		n.Path = path.Join(h.Join, file)
	}
	return n
}

// Hostname makes a name that a host may have of a task's id.
func Hostname(id sdk.TaskID) string {
	name := []byte(id)
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.':
		default:
			name[i] = '-'
		}
	}
	if len(name) > 63 {
		name = name[:63]
	}
	return string(name)
}
