package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// processAttacks are on processes outside.
var processAttacks = []Attack{
	{Name: "ptrace", Tries: "take over a process outside", run: func() error { return unix.PtraceSeize(hostPID()) }, refusals: outside},
	{Name: "kill", Tries: "kill a process outside", run: func() error { return unix.Kill(hostPID(), 0) }, refusals: outside},
	{Name: "kill-all", Tries: "signal everybody", run: func() error {
		// To all but itself and the first process; there is nobody else but
		// the one that runs the attacks, whom signal 0 does not hurt.
		return unix.Kill(-hostPID(), 0)
	}, refusals: outside},
	{Name: "read-memory", Tries: "read the memory of a process outside", run: func() error {
		buf := make([]byte, 8)
		local := []unix.Iovec{{Base: &buf[0], Len: 8}}
		_, err := unix.ProcessVMReadv(hostPID(), local, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&buf[0])), Len: 8}}, 0)
		return err
	}, refusals: outside},
	{Name: "pidfd", Tries: "take a handle on a process outside", run: func() error {
		fd, err := unix.PidfdOpen(hostPID(), 0)
		unix.Close(fd)
		return err
	}, refusals: outside},
	{Name: "pidfd-getfd", Tries: "take a file from another process", Granted: Either, run: func() error {
		pidfd, err := unix.PidfdOpen(1, 0)
		if err != nil {
			return err
		}
		fd, err := unix.PidfdGetfd(pidfd, 0, 0)
		unix.Close(fd)
		return err
	}, refusals: denied},
	{Name: "kcmp", Tries: "learn where the kernel keeps things", Granted: Either, run: calls(unix.SYS_KCMP, 1, 1, 0, 0, 0), refusals: denied},
	{Name: "priority", Tries: "go before others on the processor", run: func() error { return unix.Setpriority(unix.PRIO_PROCESS, 0, -10) }, refusals: denied},
	{Name: "real-time", Tries: "take the processor for itself", run: func() error {
		priority := uint32(1)
		return calls(unix.SYS_SCHED_SETSCHEDULER, 0, 1, uintptr(unsafe.Pointer(&priority)))()
	}, refusals: denied},
	{Name: "raise-rlimit", Tries: "raise what a process may have open", run: func() error {
		var l unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			return err
		}
		l.Max++
		return unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
	}, refusals: denied},
}

// outside is how what is not in the container's own process ids is refused.
var outside = []error{syscall.ESRCH, syscall.EPERM, syscall.EACCES}

// userAttacks are on who the container's users are.
var userAttacks = []Attack{
	{Name: "setuid", Tries: "become another user", Granted: Works, run: calls(unix.SYS_SETUID, 7), refusals: denied},
	{Name: "setgroups", Tries: "join another group", Granted: Works, run: func() error { return unix.Setgroups([]int{7}) }, refusals: denied},
	{Name: "setfsuid", Tries: "become another user for files only", Granted: Works, run: func() error {
		unix.RawSyscall(unix.SYS_SETFSUID, 7, 0, 0)
		if now, _, _ := unix.RawSyscall(unix.SYS_SETFSUID, ^uintptr(0), 0, 0); now != 7 {
			return syscall.EPERM
		}
		return nil
	}, refusals: denied},
	{Name: "capset", Tries: "take capabilities", Granted: Works, run: func() error {
		h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		d := [2]unix.CapUserData{{Effective: 1 << unix.CAP_CHOWN, Permitted: 1 << unix.CAP_CHOWN}}
		return unix.Capset(&h, &d[0])
	}, refusals: denied},
	{Name: "chown", Tries: "give a file away", Granted: Works, run: func() error {
		if err := os.WriteFile("/tmp/own", nil, 0o600); err != nil {
			return err
		}
		return os.Chown("/tmp/own", 7, 7)
	}, refusals: denied},
	{Name: "read-others", Tries: "read another user's file of the image", Granted: Works, run: reads("/secret/other"), refusals: denied},
	{Name: "file-capability", Tries: "make a program that has capabilities", Granted: Either, run: func() error {
		if err := os.WriteFile("/tmp/able", nil, 0o755); err != nil {
			return err
		}
		return unix.Setxattr("/tmp/able", "security.capability", capabilityOf(unix.CAP_SYS_ADMIN), 0)
	}, refusals: denied},
	{Name: "no-new-privs", Tries: "allow programs to gain privileges again", run: func() error {
		return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0)
	}, refusals: []error{syscall.EINVAL}},
	{Name: "setuid-program", Tries: "become root by a program of the image", Granted: Either, run: func() error {
		return gains("/bin/setuid")
	}, refusals: []error{errHidden}},
	{Name: "capable-program", Tries: "get capabilities by a program of the image", Granted: Either, run: func() error {
		return gains("/bin/capable")
	}, refusals: append([]error{errHidden}, denied...)},
}

// gains runs a program of the image that is meant to have more than this one,
// and compares.
func gains(path string) error {
	program, err := exec.Command(path, argSay, "privileges").Output()
	if err != nil {
		return err
	}
	if string(program) != privileges() {
		fmt.Fprintf(os.Stderr, "%s, not %s\n", program, privileges())
		return nil
	}
	return errHidden
}

// privileges returns what this process may, in words.
func privileges() string {
	b, _ := os.ReadFile("/proc/self/status")
	var s strings.Builder
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(line, ":"); k == "Uid" || k == "CapEff" || k == "CapPrm" {
			fmt.Fprintf(&s, "%s=%s ", k, strings.Join(strings.Fields(v), ","))
		}
	}
	return s.String()
}

// capabilityOf is a file's capability, as the kernel stores it.
func capabilityOf(c int) []byte {
	b := make([]byte, 20)
	b[0], b[3] = 1, 2 // effective, revision 2
	b[4+c/8] = 1 << (c % 8)
	return b
}
