// Package worker checks and evaluates documents on a server, in a process of its
// own that is killed when it takes too long or too much.
//
// Evaluating CUE cannot be interrupted, and a file of forty bytes can ask for
// gigabytes, so nothing that comes from outside is evaluated in the server's own
// process. The parent watches CPU time, memory and the clock of its workers and
// kills by process id; the kernel's own limits stand behind that. A worker that
// was killed is replaced, and the request that did it is answered with a fault.
package worker

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/cue/load"
	"github.com/drupe-os/drupe/sdk"
)

// Argument is the hidden first argument that makes the program a worker.
const Argument = "cue-worker"

// spare is what a worker may map beyond what it may hold, in bytes. The Go
// runtime maps in steps of 64 MiB, and keeps its own tables beside the heap.
const spare = 192 << 20

// Main is the worker's side: it serves requests from stdin on stdout until
// stdin ends, and returns the process's exit code. The program calls it first
// thing when its first argument is Argument.
func Main() int {
	// Evaluation depends on these; the parent clears them too.
	for _, name := range cleared {
		if err := os.Unsetenv(name); err != nil {
			return 2
		}
	}
	if err := boundMemory(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, Argument+":", err)
		return 2
	}
	runtime.GOMAXPROCS(min(2, runtime.NumCPU()))
	// A parent that died must not leave a worker busy behind; the CPU limit of
	// each request ends it even when nobody watches.
	over := make(chan os.Signal, 1)
	signal.Notify(over, unix.SIGXCPU)
	go func() {
		<-over
		os.Exit(exitCPU)
	}()
	if err := serve(os.Stdin, os.Stdout); err != nil && err != io.EOF {
		fmt.Fprintln(os.Stderr, Argument+":", err)
		return 1
	}
	return 0
}

// exitCPU is the exit code of a worker that ended itself at its CPU limit.
const exitCPU = 75

// cleared are environment variables that change how CUE evaluates.
var cleared = []string{"CUE_EXPERIMENT", "CUE_DEBUG"}

func serve(r io.Reader, w io.Writer) error {
	checker := load.NewChecker()
	in := bufio.NewReader(r)
	// The first message says that the schema is compiled.
	if err := send(w, answer{Resident: resident("self")}); err != nil {
		return err
	}
	for {
		var q request
		if err := receive(in, &q); err != nil {
			return err
		}
		if err := moreCPU(); err != nil {
			return err
		}
		if err := send(w, work(checker, q)); err != nil {
			return err
		}
	}
}

func work(checker *load.Checker, q request) answer {
	var a answer
	if q.Kind == "" {
		set, diags := checker.Source(q.Name, q.Text)
		a.Documents, a.Diagnostics = set.Documents, diags
	} else {
		d, diags := checker.Canonical(q.Kind, q.Name, []byte(q.Text))
		a.Diagnostics = diags
		if len(diags) == 0 {
			a.Documents = []load.Loaded{d}
		}
	}
	a.Resident = resident("self")
	return a
}

// boundMemory reads the bound on memory from the last argument. The garbage
// collector begins to work hard below it; the kernel refuses more a little above
// it, which ends the process at once, where the parent looks only now and then.
func boundMemory(args []string) error {
	memory, err := strconv.ParseInt(args[len(args)-1], 10, 64)
	if err != nil {
		return fmt.Errorf("the last argument is the bound on memory: %w", err)
	}
	debug.SetMemoryLimit(memory / 8 * 5)
	debug.SetGCPercent(400) // the schema is small and garbage plenty
	limit := uint64(memory) + spare
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: limit, Max: limit})
}

// moreCPU allows the process some seconds beyond what it has used, at which
// SIGXCPU comes. The kernel counts whole seconds, so this stands behind the
// parent's watching, which is finer.
func moreCPU() error {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CPU, &limit); err != nil {
		return err
	}
	const allowed = 3 // the parent kills at 2
	limit.Cur = min(uint64(used.Utime.Sec+used.Stime.Sec)+allowed, limit.Max)
	// Through package syscall, so that the Go runtime knows it was changed.
	return syscall.Setrlimit(unix.RLIMIT_CPU, &syscall.Rlimit{Cur: limit.Cur, Max: limit.Max})
}

// resident is the memory a process holds, in bytes; 0 when it is gone.
func resident(pid string) int64 {
	text, err := os.ReadFile("/proc/" + pid + "/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	if n, err := fmt.Sscan(string(text), &size, &pages); n != 2 || err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// document is a loaded document as the servers take it.
func document(d load.Loaded) sdk.Document {
	return sdk.Document{Ref: d.Ref, Role: d.Role, Body: d.Body, Source: d.Source, Digest: digest(d.Body)}
}
