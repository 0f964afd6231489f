package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bomb uses something up and says how far it came.
func bomb(name string) {
	n, err := 0, error(nil)
	switch name {
	case "processes":
		for ; err == nil; n++ {
			err = exec.Command("/proc/self/exe", argSay, "wait").Start()
		}
	case "threads":
		for ; n < 1<<15 && err == nil; n++ {
			var pid uintptr
			if pid, err = fork(); pid == 0 && err == nil {
				unix.RawSyscall(unix.SYS_PAUSE, 0, 0, 0)
			}
		}
	case "descriptors":
		for ; n < 1<<22 && err == nil; n++ {
			_, err = unix.Open("/dev/null", unix.O_RDONLY, 0)
		}
	case "terminals":
		for ; n < 1<<16 && err == nil; n++ {
			_, err = unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
		}
	case "memory":
		for b := make([]byte, 1<<20); ; n++ {
			var m []byte
			if m, err = unix.Mmap(-1, 0, len(b), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
				break
			}
			for i := 0; i < len(m); i += 4096 {
				m[i] = 1
			}
		}
	case "shm":
		n, err = fill("/dev/shm/fill")
	case "dev":
		n, err = fill("/dev/fill")
	case "memfd":
		var fd int
		if fd, err = unix.MemfdCreate("fill", 0); err == nil {
			n, err = fill(fmt.Sprintf("/proc/self/fd/%d", fd))
		}
	case "sysv":
		for ; err == nil; n++ {
			err = segment(1 << 20)
		}
	case "files":
		for ; err == nil; n++ {
			var f *os.File
			if f, err = os.Create(filepath.Join("/dev/shm", fmt.Sprint(n))); err == nil {
				f.Close()
			}
		}
	case "output":
		line := make([]byte, 64<<10)
		for i := range line {
			line[i] = 'x'
		}
		for ; n < 1024 && err == nil; n++ {
			_, err = os.Stdout.Write(line)
		}
		fmt.Println()
	case "crash":
		var l unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_CORE, &l)
		fmt.Println("core", l.Cur, l.Max)
		os.Chdir("/tmp")
		unix.Kill(os.Getpid(), unix.SIGABRT)
		time.Sleep(patience)
	default:
		err = errors.New("no such bomb")
	}
	fmt.Printf("%s\t%d\t%v\n", name, n, err)
}

// fork starts a process that shares nothing and runs nothing.
func fork() (uintptr, error) {
	runtime.LockOSThread()
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	if errno != 0 {
		return 1, errno
	}
	return pid, nil
}

// fill writes a file until that is refused and returns how many megabytes it
// has then.
func fill(path string) (n int, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	b := make([]byte, 1<<20)
	for ; n < 1<<14; n++ {
		if _, err = f.Write(b); err != nil {
			break
		}
	}
	return n, err
}

// segment takes shared memory of System V and writes to all of it.
func segment(size int) error {
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, size, unix.IPC_CREAT|0o600)
	if err != nil {
		return err
	}
	m, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		return err
	}
	for i := 0; i < len(m); i += 4096 {
		m[i] = 1
	}
	return nil
}

// say does a small thing for an attack or a test.
func say(what string, args []string) {
	switch what {
	case "nothing":
	case "wait":
		syscall.Pause()
	case "privileges":
		fmt.Print(privileges())
	case "inheritable":
		b, _ := os.ReadFile("/proc/self/status")
		fmt.Print(string(b))
	case "hold": // a mount, until it is killed
		err := unix.Mount("hostile-mount", "/tmp", "tmpfs", 0, "")
		fmt.Println("held", err)
		syscall.Pause()
	case "read":
		b, err := os.ReadFile(args[0])
		fmt.Printf("%q %v\n", b, err)
	case "touch":
		fmt.Println(os.WriteFile(args[0], []byte("x"), 0o644))
	case "list":
		list, err := os.ReadDir(args[0])
		fmt.Println(len(list), err)
	}
}
