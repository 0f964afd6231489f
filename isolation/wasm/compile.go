package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"
)

// The bounds on compiling one module, which is whatever somebody uploaded.
const (
	maxModule  = 256 << 20
	maxCPU     = 120     // seconds
	maxData    = 3 << 30 // bytes of memory
	maxWritten = 1 << 30 // bytes of one file
)

// nobody owns what compiles.
const nobody = 65534

// outDescriptor is the folder for the code, handed over by the node.
const outDescriptor = 3

// compile reads a module from standard input and leaves its native code in the
// folder that is handed over. Before it reads a byte it gives up everything
// else: the rest of the file system, its user, and most of its limits. The
// node has already taken the network away.
func compile(args []string) error {
	if len(args) != 0 {
		return errors.New("compile takes no arguments")
	}
	if err := cage(); err != nil {
		return fmt.Errorf("cage: %w", err)
	}
	debug.SetMemoryLimit(maxData / 2)
	wasm, err := readModule(os.Stdin)
	if err != nil {
		return err
	}
	ctx := context.Background()
	_, code, err := load(ctx, wasm, "/", 0)
	if err != nil {
		return err
	}
	return check(wasm, code)
}

func cage() error {
	for _, l := range []struct {
		which int
		limit uint64
	}{
		{unix.RLIMIT_CPU, maxCPU}, {unix.RLIMIT_DATA, maxData}, {unix.RLIMIT_FSIZE, maxWritten}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_NOFILE, 64},
	} {
		if err := unix.Setrlimit(l.which, &unix.Rlimit{Cur: l.limit, Max: l.limit}); err != nil {
			return err
		}
	}
	if err := unix.Fchdir(outDescriptor); err != nil {
		return err
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := unix.Close(outDescriptor); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	// These three of package syscall change every thread.
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setresgid(nobody, nobody, nobody); err != nil {
		return err
	}
	return syscall.Setresuid(nobody, nobody, nobody)
}
