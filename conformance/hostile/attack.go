package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// Attack is one try to get at the machine from inside a container.
type Attack struct {
	Name  string
	Tries string // what it would be good for
	// Granted is what becomes of it in a container that has every capability
	// there is, in a user namespace of its own.
	Granted Outcome
	// run tries it; nil is success. What it does when it succeeds must do the
	// machine no harm.
	run func() error
	// refusals are the errors that count.
	refusals []error
}

// Outcome is what has to become of an attack.
type Outcome uint8

// The outcomes.
const (
	Stopped Outcome = iota // refused, as without any capability
	Works                  // succeeds, within the container: this is what the capability is for
	Either                 // depends on the kernel; harmless within the container
)

// Refusals that are no error numbers.
var (
	errHidden = errors.New("nothing there to see")
	errKilled = errors.New("ended by the kernel")
)

// What refuses most attacks.
var (
	denied = []error{syscall.EPERM, syscall.EACCES}
	// readOnly also counts a file system that takes no writes, and what this
	// kernel or its masks do not have.
	readOnly = []error{syscall.EPERM, syscall.EACCES, syscall.EROFS, syscall.ENOENT}
	// unbuilt also counts a system call that this kernel was built without.
	unbuilt = []error{syscall.EPERM, syscall.EACCES, syscall.ENOSYS}
	// absent also counts what is not there, or is hidden.
	absent = []error{syscall.EPERM, syscall.EACCES, syscall.ENOENT, syscall.ENXIO, syscall.ENODEV, errHidden}
)

// Attacks are all of them.
var Attacks = slices.Concat(procAttacks, sysAttacks, cgroupAttacks, mountAttacks, deviceAttacks,
	kernelAttacks, processAttacks, userAttacks, networkAttacks)

// The environment that the tests give to the program.
const (
	envHostPID = "HOSTILE_HOST_PID" // of a process outside
)

// hostPID is a process outside, by its number there.
func hostPID() int {
	n, _ := strconv.Atoi(os.Getenv(envHostPID))
	if n == 0 {
		n = 2 // a kernel thread, on every machine
	}
	return n
}

// opens is the attack of opening a file to write to it.
func opens(path string) func() error {
	return func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return err
	}
}

// reads is the attack of reading what a file or folder holds.
func reads(path string) func() error {
	return func() error {
		if list, err := os.ReadDir(path); err == nil {
			if len(list) == 0 {
				return errHidden
			}
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		n, err := f.Read(make([]byte, 16))
		if n > 0 {
			return nil
		}
		if err != nil && !errors.Is(err, os.ErrClosed) && err.Error() != "EOF" {
			return err
		}
		return errHidden
	}
}

// calls is the attack of a bare system call. The arguments are such that it
// changes nothing where it is allowed.
func calls(number uintptr, args ...uintptr) func() error {
	return func() error {
		args := append(slices.Clone(args), 0, 0, 0, 0, 0, 0)
		_, _, errno := syscall.Syscall6(number, args[0], args[1], args[2], args[3], args[4], args[5])
		if errno != 0 {
			return errno
		}
		return nil
	}
}

// then runs steps one after the other, up to the first that is refused.
func then(steps ...func() error) func() error {
	return func() error {
		for i, step := range steps {
			if err := step(); err != nil {
				return fmt.Errorf("step %d: %w", i+1, err)
			}
		}
		return nil
	}
}
