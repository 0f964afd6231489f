package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/drupe-os/drupe/agent/probe"
	"github.com/drupe-os/drupe/sdk"
)

// needed are the capabilities that the keeper cannot do without, by their bits.
var needed = []struct {
	name string
	bit  uint
}{{"CHOWN", 0}, {"DAC_OVERRIDE", 1}, {"KILL", 5}, {"SETGID", 6}, {"SETUID", 7}, {"NET_ADMIN", 12}, {"SYS_PTRACE", 19}, {"SYS_ADMIN", 21}, {"MKNOD", 27}}

func privileges(f *Facts, l *findings) {
	if f.UID != 0 {
		l.add(Fatal, "root", fmt.Sprintf("the agent runs as user %d", f.UID), "containers are made by root only", "run it as root: sudo drupe agent …")
		return
	}
	var lacking []string
	for _, c := range needed {
		if f.Capabilities&(1<<c.bit) == 0 {
			lacking = append(lacking, c.name)
		}
	}
	if len(lacking) > 0 {
		l.add(Fatal, "capabilities", "root here lacks "+strings.Join(lacking, ", "), "containers cannot be made without them",
			"run the agent outside of a container, or give that container these capabilities")
	}
	if p := f.Profile; p != "" && p != "unconfined" && !strings.Contains(p, "(complain)") {
		l.add(Warning, "apparmor", "AppArmor confines this process by "+p, "mounts and namespaces that containers need may be denied",
			"run the agent unconfined: aa-complain, or AppArmorProfile= in its unit")
	}
}

func kernel(f *Facts, l *findings) {
	if !probe.AtLeast(f.Kernel, "5.12") {
		l.add(Fatal, "kernel", "Linux "+f.Kernel+" is too old", "mounts with moved ids and process handles came with 5.12", "install a kernel of 5.12 or later, best 6.1 or later")
	} else if !probe.AtLeast(f.Kernel, "5.19") {
		l.add(Warning, "idmap", "Linux "+f.Kernel+" cannot move the ids of overlays", "tasks have the host's user ids", "install a kernel of 5.19 or later")
	}
	if !f.Overlay {
		l.add(Fatal, "overlay", "the kernel has no overlay file system", "images are stacked with it", "modprobe overlay, and name it in /etc/modules-load.d")
	}
	if !f.Seccomp {
		l.add(Fatal, "seccomp", "the kernel cannot filter system calls", "no container is started without that filter", "use a kernel with CONFIG_SECCOMP_FILTER")
	}
	if f.Namespaces == 0 {
		l.add(Warning, "userns", "user namespaces are switched off", "root in a task is then root of the machine, held back by less",
			"sysctl -w user.max_user_namespaces=65536, and in /etc/sysctl.d")
	}
}

func groups(f *Facts, l *findings) {
	if f.Version == 0 {
		l.add(Fatal, "cgroup", "no control groups are mounted", "nothing bounds what a task uses", "mount -t cgroup2 none /sys/fs/cgroup")
		return
	}
	why := map[string]string{"memory": "memory limits cannot be kept", "cpu": "cores cannot be shared out", "pids": "a task can take every process",
		"cpuset": "tasks cannot have cores of their own", "io": "disk traffic cannot be bounded", "devices": "tasks cannot be kept from devices"}
	for _, c := range []string{"memory", "cpu", "pids", "cpuset", "io", "devices"} {
		have := slices.Contains(f.Controllers, c) || c == "io" && slices.Contains(f.Controllers, "blkio") ||
			c == "devices" && f.Version == 2 // done with a program there
		if have {
			continue
		}
		level := Fatal
		if c == "cpuset" || c == "io" {
			level = Warning
		}
		fix := "do not disable it on the kernel's command line (cgroup_disable=)"
		if c == "memory" {
			fix = "put cgroup_enable=memory on the kernel's command line"
		}
		l.add(level, "cgroup-"+c, "the "+c+" controller is missing", why[c], fix)
	}
	if f.GroupsFixed {
		l.add(Fatal, "cgroup-read-only", "/sys/fs/cgroup is mounted read-only", "no control group can be made", "mount -o remount,rw /sys/fs/cgroup; in a container, delegate it")
	}
	if f.Version == 1 && f.Mixed {
		l.add(Note, "cgroup-hybrid", "control groups of version 1 with version 2 beside them", "version 1's are used; memory pressure and atomic kills need version 2",
			"boot with systemd.unified_cgroup_hierarchy=1")
	}
}

// remote and volatile are file systems that layers should not be on.
var remote = []string{"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "afs", "fuse.glusterfs"}

func data(f *Facts, l *findings) {
	if f.DataFault != "" {
		l.add(Fatal, "data", "the data folder "+f.Data+" cannot be used: "+f.DataFault, "images, logs and what the node knows are kept there", "name another folder, or let root write there")
		return
	}
	switch {
	case slices.Contains(remote, f.Type):
		l.add(Fatal, "data-remote", f.Data+" is on "+f.Type, "network file systems have no overlays and no moved ids", "put it on a disk of this machine")
	case f.Type == "tmpfs" || f.Type == "ramfs":
		l.add(Warning, "data-volatile", f.Data+" is on "+f.Type, "after a restart the node has forgotten who it is, and its images take memory", "put it on a disk")
	case f.Type == "overlay":
		l.add(Warning, "data-overlay", f.Data+" is on an overlay", "an overlay on an overlay is slow and cannot move ids", "put it on a volume of the container that the agent runs in")
	}
	if f.NoExec {
		l.add(Fatal, "data-noexec", f.Data+" is mounted noexec", "programs of images cannot be started from there", "mount -o remount,exec, and change /etc/fstab")
	}
	switch {
	case f.Free >= 0 && f.Free < 256<<20:
		l.add(Fatal, "disk", fmt.Sprintf("only %s are free in %s", size(f.Free), f.Data), "an image does not fit", "make room, or name a folder on another disk")
	case f.Free >= 0 && f.Free < min(f.Total/10, 10<<30):
		l.add(Warning, "disk-low", fmt.Sprintf("only %s of %s are free in %s", size(f.Free), size(f.Total), f.Data), "the node offers the whole file system but what is reserved", "make room, or offer less: --reserve disk=…")
	}
	if f.Inodes > 0 && f.InodesFree < max(f.Inodes/50, 10000) {
		l.add(Warning, "inodes", fmt.Sprintf("only %d files can be made in %s", f.InodesFree, f.Data), "images have tens of thousands of files", "remove files, or make the file system with more inodes")
	}
}

func memory(f *Facts, l *findings) {
	if f.Mem >= 0 && f.Mem < 512<<20 {
		l.add(Warning, "mem", fmt.Sprintf("the machine has %s of memory", size(f.Mem)), "after what the system needs little is left for tasks", "give it 1 GiB or more")
	}
	if f.Swap > 0 && !f.SwapCount {
		l.add(Warning, "swap", fmt.Sprintf("%s of swap are on, and control groups do not count it", size(f.Swap)), "memory limits do not hold for what is swapped out",
			"swapoff -a, or put swapaccount=1 on the kernel's command line")
	}
}

// built is a time before which no clock that is right can be.
var built = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func clock(f *Facts, l *findings) {
	switch {
	case f.Now.Before(built):
		l.add(Fatal, "clock", "it is "+f.Now.UTC().Format("2006-01-02")+" here", "certificates are not valid yet at that time", "set the clock, and run chrony or systemd-timesyncd")
	case !f.Synced:
		l.add(Warning, "clock-sync", "nobody sets the clock", "times of logs and tasks drift from other nodes', and certificates fail in the end", "run chrony or systemd-timesyncd")
	}
}

func network(f *Facts, l *findings) {
	if e := f.Ephemeral; e.First != 0 && f.Ports.First <= e.Last && e.First <= f.Ports.Last {
		l.add(Warning, "ports", fmt.Sprintf("tasks' ports %d–%d overlap those of outgoing connections, %d–%d", f.Ports.First, f.Ports.Last, e.First, e.Last),
			"now and then a port that a task was given is taken", fmt.Sprintf("sysctl -w net.ipv4.ip_local_port_range=\"%d 65535\"", max(int(f.Ports.Last)+1, 32768)))
	}
	if n := len(f.Taken); n > 0 {
		l.add(Warning, "ports-taken", fmt.Sprintf("somebody listens on %d of tasks' ports, such as %d", n, f.Taken[0]), "a task that is given one does not start", "move that program to another port, or the pool")
	}
	failed := 0
	for _, s := range f.Servers {
		if s.Fault != "" {
			failed++
		}
	}
	for _, s := range f.Servers {
		if s.Fault == "" {
			continue
		}
		level := Warning
		if failed == len(f.Servers) {
			level = Fatal
		}
		l.add(level, "server", "the server "+s.Address+" cannot be reached: "+s.Fault, "the node cannot join, or cannot report", "check the address, and that firewalls let this machine connect")
	}
}

func names(f *Facts, l *findings) {
	if !validHost(f.Hostname) || f.Hostname == "localhost" {
		l.add(Warning, "hostname", fmt.Sprintf("the host name %q tells nothing, or is no host name", f.Hostname), "nodes are called by it unless --name is given", "hostnamectl set-hostname, or give --name")
	} else if !f.Resolved {
		l.add(Warning, "hostname-address", "the host name "+f.Hostname+" has no address", "programs that look themselves up wait or fail", "name it in /etc/hosts")
	}
}

func validHost(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

func identityFiles(f *Facts, l *findings) {
	switch left := f.Certificate.Sub(f.Now); {
	case f.Identity != "":
		l.add(Fatal, "identity", "who the node is cannot be read: "+f.Identity, "servers do not let it in", "remove the file and join again")
	case f.Certificate.IsZero():
	case left <= 0:
		l.add(Fatal, "certificate", "the node's certificate ended on "+f.Certificate.UTC().Format("2006-01-02"), "servers do not let it in", "remove the file identity and join again with a token")
	case left < 14*24*time.Hour:
		l.add(Warning, "certificate-soon", "the node's certificate ends on "+f.Certificate.UTC().Format("2006-01-02"), "after that servers do not let it in", "join again with a token before that")
	}
	if f.TokenFault != "" {
		l.add(Fatal, "token", "the token to join, "+f.Token+", cannot be read: "+f.TokenFault, "the node cannot join without it", "make one on a server: drupe server join-token")
	}
	for _, p := range f.Exposed {
		l.add(Warning, "secret-mode", p+" can be read by others", "who reads it can be this node", "chmod 600 "+p)
	}
}

func limits(f *Facts, l *findings) {
	low := func(have, want int64, id, what, why, fix string) {
		if have >= 0 && have < want {
			l.add(Warning, id, fmt.Sprintf("%s: %d, where %d are advised", what, have, want), why, fix)
		}
	}
	low(f.Files, 65536, "nofile", "open files", "the agent, and tasks that ask for more, run out of them", "LimitNOFILE=1048576 in the unit, or ulimit -n")
	low(f.Pids, 32768, "pid-max", "process ids", "starts fail on a full node", "sysctl -w kernel.pid_max=4194304")
	low(f.Threads, 30000, "threads-max", "threads", "starts fail on a full node", "sysctl -w kernel.threads-max=200000")
	low(f.Keys, 10000, "keys", "keys of root (kernel.keys.root_maxkeys)", "each container takes one: starts fail with \"disk quota exceeded\"", "sysctl -w kernel.keys.root_maxkeys=1000000")
	low(f.Monitors, 256, "inotify", "inotify instances", "programs that watch files fail", "sysctl -w fs.inotify.max_user_instances=8192")
	low(f.Watches, 16384, "inotify-watches", "inotify watches", "programs that watch files fail", "sysctl -w fs.inotify.max_user_watches=524288")
	low(f.Mappings, 65530, "map-count", "memory mappings", "databases and search engines refuse to start", "sysctl -w vm.max_map_count=262144")
	low(f.Entropy, 128, "entropy", "bits of entropy", "keys are slow to make", "give a virtual machine a virtio-rng device, or run rngd")
	if f.Slow {
		l.add(Note, "rcu", "RCU grace periods are not expedited", "making and removing containers waits for them on some machines", "echo 1 > /sys/kernel/rcu_expedited, if starts are slow")
	}
}

func devices(f *Facts, l *findings) {
	if f.Driver == "" {
		return
	}
	if len(f.NoNodes) > 0 {
		l.add(Warning, "gpu-nodes", "the GPU driver "+f.Driver+" is loaded, and "+strings.Join(f.NoNodes, ", ")+" are not there", "GPUs cannot be handed to tasks", "nvidia-modprobe -c 0 -u, or run nvidia-persistenced")
	}
	if f.NoLibraries {
		l.add(Warning, "gpu-libraries", "the GPU driver "+f.Driver+" is loaded, and its libraries are not there", "the GPUs are not found", "install the driver's libraries of the same version (libcuda1, libnvidia-ml1)")
	}
}

func remains(f *Facts, l *findings) {
	if len(f.Left) > 0 {
		l.add(Warning, "remains", "a keeper that is gone left "+strings.Join(f.Left, ", "), "its tasks may still run, and nobody watches them",
			"start the agent with the same data folder: it takes them over; or end their processes and remove these")
	}
	if f.Keeper != "" && f.Build != "" && f.Keeper != f.Build {
		l.add(Note, "keeper", "the keeper that runs is of another build than this program", "it is replaced when the agent starts; tasks go on", "nothing, unless several programs are started for one data folder in turn")
	}
}

// Pool is tasks' ports when nothing else is said.
var Pool sdk.Range = probe.DefaultPorts
