// Vm runs the tests of real containers in a virtual machine with version 2 of
// cgroups, on whatever machine this is: the same tests as here, the same
// keeper, another kernel.
//
// The machine is emulated in software, so it needs neither virtualisation nor
// root, and is slow. Its kernel is one of Debian's, unpacked by `make vm` and
// not installed; its disk is made anew for every run.
//
//	make vm              everything
//	make vm VM=-short    the limits only
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// A suite is a package of tests that is run in the machine.
type suite struct {
	name string
	pkg  string
	run  string // which of its tests, a regular expression; empty: all
	skip string // which not
}

// The suites, and what of them is left out.
var suites = []suite{
	{name: "limits", pkg: "./isolation/runc", run: "^TestLimits"},
	{name: "runc", pkg: "./isolation/runc", skip: "^TestLimits"},
	// TestFixedVersions reads the sources' go.mod, which says the same anywhere.
	{name: "hostile", pkg: "./conformance/hostile", skip: "^TestFixedVersions$"},
}

func main() {
	var o options
	flag.StringVar(&o.work, "work", ".build/vm", "folder for what is made")
	flag.StringVar(&o.kernel, "kernel", ".build/vm/kernel", "folder of the unpacked kernel")
	flag.StringVar(&o.keeper, "keeper", "bin/drupe-keeper", "the keeper, a static program")
	flag.StringVar(&o.only, "suite", "", "the only suite to run")
	flag.StringVar(&o.run, "run", "", "which tests of it, a regular expression")
	flag.BoolVar(&o.verbose, "v", false, "print all that the machine prints")
	short := flag.Bool("short", false, "the limits only")
	limit := flag.Duration("timeout", 10*time.Minute, "how long the machine may run")
	flag.Parse()
	if *short {
		o.only = "limits"
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	ok, err := o.all(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// options are what one run is of.
type options struct {
	work, kernel, keeper, only, run string
	verbose                         bool
}

// all makes the machine, runs it, and tells whether every test passed.
func (o *options) all(ctx context.Context) (bool, error) {
	var chosen []suite
	for _, s := range suites {
		if o.only != "" && s.name != o.only {
			continue
		}
		if o.run != "" {
			s.run = o.run
		}
		chosen = append(chosen, s)
	}
	if len(chosen) == 0 {
		return false, fmt.Errorf("there is no suite %q", o.only)
	}
	if err := os.MkdirAll(o.work, 0o755); err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp(o.work, "run-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	m, err := build(ctx, o, dir, chosen)
	if err != nil {
		return false, err
	}
	r := report{verbose: o.verbose, began: time.Now()}
	err = m.boot(ctx, r.line)
	log := filepath.Join(o.work, "console.log")
	if e := os.WriteFile(log, r.console.Bytes(), 0o644); e != nil && err == nil {
		err = e
	}
	ok := r.print(os.Stdout, chosen)
	fmt.Println("all that the machine printed is in", log)
	return ok, err
}
