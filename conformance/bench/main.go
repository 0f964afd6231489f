// Command bench measures the figures that Drupe is held to, each beside its aim
// and, where there is one, beside its baseline in the same run.
//
//	go run ./conformance/bench [-only name,...] [-quick] [-write]
//
// It needs root, for containers, and what `make` builds: bin/drupe, the plugins
// and the images. Nothing in it asserts a time: a machine that is busy makes
// figures that are slow, and a table that says how busy it was.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/conformance/guests"
	"github.com/drupe-os/drupe/cue/worker"
)

// figure is one line of the table.
type figure struct {
	Name     string // what was measured
	Aim      string // what it is held to, "" for none
	Measured string
	Ratio    string // to a baseline of the same run, "" for none
	Method   string // how, in a few words
}

// bench is one group of figures.
type bench struct {
	name string
	run  func(*run) ([]figure, error)
}

var benches = []bench{
	{"round", benchRound},
	{"durable", benchDurable},
	{"submit", benchSubmit},
	{"start", benchStart},
	{"node", benchNode},
	{"unpack", benchUnpack},
	{"idle", benchIdle},
	{"cue", benchCUE},
	{"swap", benchSwap},
	{"log", benchLog},
	{"recover", benchRecover},
}

// run is what every group is given.
type run struct {
	context.Context
	quick   bool   // fewer repetitions, smaller clusters
	scratch string // a folder of its own, removed at the end
	root    string // of the source tree
	profile string // folder for CPU profiles of the server, "" for none
}

// drupe is the program as it ships.
func (r *run) drupe() string { return filepath.Join(r.root, "bin", "drupe") }

func main() {
	if len(os.Args) > 1 { // what this program starts of itself
		switch os.Args[1] {
		case worker.Argument:
			os.Exit(worker.Main())
		case serverArgument:
			os.Exit(serverMain(os.Args[2:]))
		}
	}
	if err := mainErr(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func mainErr() error {
	only := flag.String("only", "", "`names` of groups to run, with commas: "+strings.Join(names(), ","))
	quick := flag.Bool("quick", false, "fewer repetitions and smaller clusters: about a minute")
	write := flag.Bool("write", false, "write the table into conformance/BENCHMARKS.md")
	profile := flag.String("profile", "", "`folder` for CPU profiles of the server")
	flag.Parse()
	chosen := strings.FieldsFunc(*only, func(c rune) bool { return c == ',' })
	for _, name := range chosen {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("there is no group %q; there are %s", name, strings.Join(names(), ", "))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	scratch, err := os.MkdirTemp("", "drupe-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	r := &run{Context: ctx, quick: *quick, scratch: scratch, root: guests.Root(), profile: *profile}
	t := newTable(*quick)
	for _, b := range benches {
		if len(chosen) > 0 && !slices.Contains(chosen, b.name) || ctx.Err() != nil {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s …\n", b.name)
		begun := time.Now()
		figures, err := b.run(r)
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", b.name, err)
			figures = append(figures, figure{Name: b.name, Measured: "not measured: " + err.Error()})
		}
		t.add(b.name, figures, time.Since(begun))
	}
	t.end()
	fmt.Print(t.markdown())
	if *write {
		return t.write(filepath.Join(r.root, "conformance", "BENCHMARKS.md"))
	}
	return ctx.Err()
}

func names() []string {
	var out []string
	for _, b := range benches {
		out = append(out, b.name)
	}
	return out
}
