// Command demo shows Drupe at work: it starts a cluster on this machine and uses
// it as a person would, each command printed before its output.
//
//	make demo               ends with Ctrl-C
//	make demo DEMO_EXIT=1   ends after the last step
//
// Its exit code is 0 only if every step did what it says, 1 after one that did
// not, 130 when interrupted before the end. However it ends, nothing is left.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

func main() {
	// The cluster and this process end with the thread that started them, so
	// that thread must be the one that lasts.
	runtime.LockOSThread()
	drupe := flag.String("drupe", "bin/drupe", "the program")
	examples := flag.String("examples", "examples", "folder of the examples")
	cache := flag.String("cache", "", "folder where compiled plugins are kept for the next time (default: in the cluster's own)")
	exit := flag.Bool("exit", false, "end after the last step")
	flag.Parse()
	endWithParent()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(run(ctx, &demo{drupe: *drupe, examples: *examples, cache: *cache, out: newTranscript(os.Stdout)}, *exit))
}

// run starts the cluster, takes the steps, ends the cluster and returns the exit
// code.
func run(ctx context.Context, d *demo, exit bool) (code int) {
	err := d.start(ctx)
	if err == nil {
		err = d.steps(ctx)
	}
	interrupted := ctx.Err() != nil
	if err == nil && !exit {
		err = d.stay(ctx)
	}
	if ended := d.end(); err == nil {
		err = ended
	}
	switch {
	case interrupted:
		d.out.note("Interrupted; everything is taken down.")
		return 130
	case err != nil:
		d.out.fail(err, d.log.tail())
		return 1
	}
	d.out.note("The cluster has ended; nothing of it is left.")
	return 0
}

// stay keeps the cluster until somebody ends it.
func (d *demo) stay(ctx context.Context) error {
	here, err := filepath.Abs(filepath.Dir(d.drupe))
	if err != nil {
		return err
	}
	d.out.title("It is yours until Ctrl-C. In another terminal:")
	d.out.note("  export DRUPE_CONFIG=" + d.config)
	d.out.note("  export PATH=" + here + ":$PATH")
	d.out.note("  drupe ps")
	select {
	case <-ctx.Done():
		fmt.Fprintln(d.out.w)
		return nil
	case <-d.ended:
		return errors.New("the cluster ended by itself")
	}
}

// endWithParent asks for SIGTERM when the process that started this one is gone,
// so that not even killing make leaves a cluster behind.
func endWithParent() {
	parent := os.Getppid()
	syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0)
	if os.Getppid() != parent { // it went before the wish was made
		syscall.Kill(os.Getpid(), syscall.SIGTERM)
	}
}
