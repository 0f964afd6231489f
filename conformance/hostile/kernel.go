package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernelAttacks are system calls that change or spy on the machine. Where one
// is let through, its arguments make it change nothing.
var kernelAttacks = []Attack{
	{Name: "syslog", Tries: "read the kernel's log, and addresses with it", run: calls(unix.SYS_SYSLOG, 10), refusals: denied},
	{Name: "syslog-clear", Tries: "wipe the traces from the kernel's log", run: calls(unix.SYS_SYSLOG, 9), refusals: denied},
	{Name: "bpf", Tries: "load a program into the kernel", run: func() error {
		attr := [16]uint32{2, 4, 4, 1} // an array of one number
		fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_MAP_CREATE, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
		if errno != 0 {
			return errno
		}
		unix.Close(int(fd))
		return nil
	}, Granted: Either, refusals: denied},
	{Name: "perf", Tries: "measure the machine's processors to spy on others", run: func() error {
		fd, err := unix.PerfEventOpen(&unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{}))}, -1, 0, -1, 0)
		unix.Close(fd)
		return err
	}, refusals: denied},
	{Name: "io-uring", Tries: "reach the kernel past the filter of system calls", Granted: Stopped, run: func() error {
		params := [30]uint32{}
		fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&params)), 0)
		if errno != 0 {
			return errno
		}
		unix.Close(int(fd))
		return nil
	}, refusals: unbuilt},
	{Name: "userfaultfd", Tries: "hold the kernel up in the middle of a copy", Granted: Either, run: calls(unix.SYS_USERFAULTFD, 0), refusals: denied},
	{Name: "kexec", Tries: "start another kernel", run: calls(unix.SYS_KEXEC_LOAD, 0, 0, 0, 0), refusals: unbuilt},
	{Name: "kexec-file", Tries: "start another kernel from a file", run: calls(unix.SYS_KEXEC_FILE_LOAD, ^uintptr(0), ^uintptr(0), 0, 0, 0), refusals: unbuilt},
	{Name: "init-module", Tries: "load a module into the kernel", run: calls(unix.SYS_INIT_MODULE, 0, 0, 0), refusals: unbuilt},
	{Name: "finit-module", Tries: "load a module from a file", run: calls(unix.SYS_FINIT_MODULE, ^uintptr(0), 0, 0), refusals: unbuilt},
	{Name: "delete-module", Tries: "unload a module", run: func() error { return unix.DeleteModule("no_such_module", unix.O_NONBLOCK) }, refusals: unbuilt},
	{Name: "reboot", Tries: "stop the machine", Granted: Either, run: calls(unix.SYS_REBOOT, 0, 0, 0), refusals: denied},
	{Name: "settimeofday", Tries: "change the machine's time", run: func() error {
		var tv unix.Timeval
		if err := unix.Gettimeofday(&tv); err != nil {
			return err
		}
		return unix.Settimeofday(&tv)
	}, refusals: denied},
	{Name: "adjtime", Tries: "make the machine's clock run faster", run: func() error {
		_, err := unix.Adjtimex(&unix.Timex{Modes: 0x4000, Tick: 10000}) // as it is everywhere
		return err
	}, refusals: denied},
	{Name: "swapon", Tries: "give the machine a swap file", run: call1(unix.SYS_SWAPON, "/tmp/none"), refusals: denied},
	{Name: "swapoff", Tries: "take the machine's swap away", run: call1(unix.SYS_SWAPOFF, "/tmp/none"), refusals: denied},
	{Name: "quota", Granted: Either, Tries: "change who may fill the disk", run: calls(unix.SYS_QUOTACTL, 0x80000100, 0, 0, 0), refusals: denied},
	{Name: "acct", Tries: "write the machine's accounting to its own file", run: call1(unix.SYS_ACCT, "/tmp/none"), refusals: denied},
	{Name: "lookup-dcookie", Tries: "learn the paths of files outside", Granted: Either, run: calls(unix.SYS_LOOKUP_DCOOKIE, 1, 0, 0), refusals: unbuilt},
	{Name: "add-key", Tries: "put a key into a keyring that is not the container's", run: func() error {
		_, err := unix.AddKey("user", "hostile", []byte("x"), unix.KEY_SPEC_USER_KEYRING)
		return err
	}, refusals: denied},
	{Name: "request-key", Tries: "take a key from the machine's keyrings", run: func() error {
		_, err := unix.RequestKey("user", "hostile", "", unix.KEY_SPEC_SESSION_KEYRING)
		return err
	}, refusals: denied},
	{Name: "keyctl", Tries: "reach the keyrings of its user", run: func() error {
		_, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)
		return err
	}, refusals: denied},
	{Name: "hostname", Tries: "rename its machine", Granted: Works, run: func() error { return unix.Sethostname([]byte("hostile")) }, refusals: denied},
	{Name: "personality", Tries: "turn off that its memory lies at random places", Granted: Stopped, run: calls(unix.SYS_PERSONALITY, 0x0040000), refusals: denied},
	{Name: "x32", Tries: "call the kernel by numbers the filter was not made for", Granted: Stopped, run: otherNumbers, refusals: []error{errKilled, syscall.ENOSYS, syscall.EPERM}},
	{Name: "i386", Tries: "call the kernel as a 32-bit program", Granted: Stopped, run: oldProgram, refusals: []error{errKilled, syscall.ENOEXEC}},
}

func call1(number uintptr, path string) func() error {
	return func() error {
		p, err := unix.BytePtrFromString(path)
		if err != nil {
			return err
		}
		return calls(number, uintptr(unsafe.Pointer(p)))()
	}
}

// otherNumbers calls the kernel as a program of the x32 kind, in a process of
// its own: what the kernel ends is a thread only.
func otherNumbers() error {
	pid, err := fork()
	if err != nil {
		return err
	}
	if pid == 0 {
		_, _, errno := unix.RawSyscall(0x40000000+unix.SYS_GETPID, 0, 0, 0)
		unix.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
	var ws unix.WaitStatus
	if _, err := unix.Wait4(int(pid), &ws, 0, nil); err != nil {
		return err
	}
	switch {
	case ws.Signaled() && ws.Signal() == unix.SIGSYS:
		return errKilled
	case ws.ExitStatus() != 0:
		return syscall.Errno(ws.ExitStatus())
	}
	return nil
}

// oldProgram runs a 32-bit program that ends with 42 by the old system call.
func oldProgram() error {
	code := []byte{0xb8, 1, 0, 0, 0, 0xbb, 42, 0, 0, 0, 0xcd, 0x80} // mov eax, 1; mov ebx, 42; int 0x80
	const base, head = 0x08048000, 52 + 32
	le := func(b []byte, v ...uint32) []byte {
		for _, n := range v {
			b = append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
		}
		return b
	}
	elf := []byte{0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0}
	elf = le(elf, 1, base+head, 52, 0, 0)
	elf = append(elf, 52, 0, 32, 0, 1, 0, 40, 0, 0, 0, 0, 0)
	size := uint32(head + len(code))
	elf = le(elf, 1, 0, base, base, size, size, 5, 0x1000)
	elf = append(elf, code...)
	if err := os.WriteFile("/tmp/old", elf, 0o755); err != nil {
		return err
	}
	cmd := exec.Command("/tmp/old")
	err := cmd.Run()
	if cmd.ProcessState != nil {
		switch ws := cmd.ProcessState.Sys().(syscall.WaitStatus); {
		case ws.Signaled() && ws.Signal() == syscall.SIGSYS:
			return errKilled
		case ws.ExitStatus() == 42:
			return nil
		default:
			return fmt.Errorf("%v", err)
		}
	}
	return err
}
