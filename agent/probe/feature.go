package probe

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
)

// calls ask the kernel and programs what no file tells; tests replace them.
type calls struct {
	nftables, landlock func() bool
	criu               func() string // its version; "": not installed
}

var live = calls{nftables: hasNFTables, landlock: hasLandlock, criu: criuVersion}

// LeastCRIU is the oldest release of CRIU that saves and resumes containers.
const LeastCRIU = "4.2"

// features are the kernel's abilities that isolation builds on, "true" or
// "false", and the version of CRIU if that is good enough.
func (r roots) features() []sdk.Attribute {
	yes := strconv.FormatBool
	kernel := readText(filepath.Join(r.proc, "sys/kernel/osrelease"))
	out := []sdk.Attribute{
		{Name: "kernel", Value: kernel},
		{Name: "kernel.overlay", Value: yes(r.filesystem("overlay"))},
		// Since then every file system that tasks are likely to be on, and
		// overlays of them.
		{Name: "kernel.idmap", Value: yes(AtLeast(kernel, "5.19"))},
		{Name: "kernel.userns", Value: yes(r.userNamespaces())},
		{Name: "kernel.seccomp", Value: yes(strings.Contains(readText(filepath.Join(r.proc, "sys/kernel/seccomp/actions_avail")), "errno"))},
		{Name: "kernel.pidfd", Value: yes(AtLeast(kernel, "5.3"))},
	}
	if r.calls.nftables != nil {
		out = append(out, sdk.Attribute{Name: "kernel.nftables", Value: yes(r.calls.nftables())},
			sdk.Attribute{Name: "kernel.landlock", Value: yes(r.calls.landlock())})
		if v := r.calls.criu(); v != "" && AtLeast(v, LeastCRIU) {
			out = append(out, sdk.Attribute{Name: "criu", Value: v})
		}
	}
	version := "1"
	if _, err := os.Stat(filepath.Join(r.cgroup, "cgroup.controllers")); err == nil {
		version = "2"
	}
	return append(out, sdk.Attribute{Name: "cgroup", Value: version})
}

func (r roots) filesystem(name string) bool {
	for line := range strings.Lines(readText(filepath.Join(r.proc, "filesystems"))) {
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == name {
			return true
		}
	}
	return false
}

func (r roots) userNamespaces() bool {
	_, err := os.Lstat(filepath.Join(r.proc, "self/ns/user"))
	n, ok := readInt(filepath.Join(r.proc, "sys/user/max_user_namespaces"))
	return err == nil && (!ok || n > 0)
}

// AtLeast reports whether a version such as "6.18.2-amd64" is least or later.
// Numbers are compared, up to the first thing that is none.
func AtLeast(version, least string) bool {
	for {
		var v, l string
		v, version, _ = strings.Cut(version, ".")
		l, least, _ = strings.Cut(least, ".")
		a, b := number(v), number(l)
		if a != b || least == "" {
			return a >= b
		}
	}
}

func number(s string) int {
	end := 0
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(s[:end])
	if err != nil {
		return -1
	}
	return n
}

// hasNFTables asks the kernel for the generation of its rules, which needs no
// rights and changes nothing.
func hasNFTables() bool {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1})
	const head, nftables, generation = 16, 10, 16
	m := make([]byte, head+4)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], nftables<<8|generation)
	binary.NativeEndian.PutUint16(m[6:], unix.NLM_F_REQUEST)
	if unix.Sendto(fd, m, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return false
	}
	answer := make([]byte, 512)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	return err == nil && n >= head && binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR
}

func hasLandlock() bool {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0 && version > 0
}

func criuVersion() string {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	b, err := exec.CommandContext(ctx, "criu", "--version").Output()
	if err != nil {
		return ""
	}
	_, v, _ := strings.Cut(string(b), "Version:")
	if f := strings.Fields(v); len(f) > 0 {
		return f[0]
	}
	return ""
}
