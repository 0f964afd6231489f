// Package wasm is the program in a container that runs a WebAssembly module as
// a task: a WASI module of preview 1, compiled to native code by wazero.
//
// The container around it is like any other, so limits, logs, exits and
// sessions are as they are for every task. The module sees its arguments and
// environment, the task's volumes at their paths, and its ports as sockets that
// listen already; nothing else of the container.
//
// The same program compiles modules for the node beforehand, in a cage of its
// own, so that a task starts with code that is there and never writes it.
package wasm

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
)

// Exit codes for what is not the module's own doing.
const (
	exitUsage   = 2
	exitInvalid = 126 // the module cannot be run
	exitTrap    = 134 // it broke off: as a program that aborts
)

const usage = "this is a part of drupe that is started in containers; there is nothing to run by hand\n"

// Main runs the program and returns its exit code.
func Main() int {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	verb, args := os.Args[1], os.Args[2:]
	var err error
	switch verb {
	case "compile":
		err = compile(args)
	case "run":
		var code int
		if code, err = run(args); err == nil {
			return code
		}
	default:
		fmt.Fprint(os.Stderr, usage)
		return exitUsage
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%v\n", err)
		return exitInvalid
	}
	return 0
}

// list is a flag that may be given many times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// options are what run is given, all of it the node's word.
type options struct {
	module, cache string
	memory        int64
	mounts        list // paths
	listen        list // NAME=PORT
	args          []string
}

// run runs a module to its end and returns its exit code. Errors: what is wrong
// with the module or with what it is given.
func run(args []string) (int, error) {
	var o options
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.StringVar(&o.module, "module", "", "the module")
	f.StringVar(&o.cache, "cache", "", "folder of compiled code")
	f.Int64Var(&o.memory, "memory", 0, "bytes of memory at most")
	f.Var(&o.mounts, "mount", "folder to show")
	f.Var(&o.listen, "listen", "NAME=PORT to listen on")
	if err := f.Parse(args); err != nil {
		return 0, err
	}
	o.args = f.Args()
	if err := endOn(stops...); err != nil {
		return 0, fmt.Errorf("signals: %w", err)
	}
	wasm, err := os.ReadFile(o.module)
	if err != nil {
		return 0, err
	}
	g, err := newGuest(&o)
	if err != nil {
		return 0, err
	}
	ctx := experimental.WithMemoryAllocator(context.Background(), experimental.MemoryAllocatorFunc(reserve))
	r, code, err := load(ctx, wasm, o.cache, o.memory)
	if err != nil {
		return 0, err
	}
	if err := g.export(ctx, r); err != nil {
		return 0, err
	}
	_, err = r.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithName(""))
	var exit *sys.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return int(exit.ExitCode() & 0xff), nil
	}
	fmt.Fprintf(os.Stderr, "the module broke off: %v\n", err)
	return exitTrap, nil
}

// load compiles a module or takes its code from the cache. A cache that does
// not have it, or cannot be used, only costs time.
func load(ctx context.Context, wasm []byte, dir string, limit int64) (wazero.Runtime, wazero.CompiledModule, error) {
	try := func(cache wazero.CompilationCache) (wazero.Runtime, wazero.CompiledModule, error) {
		c := wazero.NewRuntimeConfig().WithCoreFeatures(features).WithDebugInfoEnabled(false)
		if cache != nil {
			c = c.WithCompilationCache(cache)
		}
		if limit > 0 {
			c = c.WithMemoryLimitPages(uint32(min(max(limit/page, 1), 1<<16)))
		}
		r := wazero.NewRuntimeWithConfig(ctx, c)
		code, err := r.CompileModule(ctx, wasm)
		return r, code, err
	}
	if dir != "" {
		if cache, err := wazero.NewCompilationCacheWithDir(dir); err == nil {
			if r, code, err := try(cache); err == nil {
				return r, code, nil
			}
		}
	}
	r, code, err := try(nil)
	if err != nil {
		return nil, nil, fmt.Errorf("it is no valid module: %.500s", err.Error())
	}
	return r, code, nil
}

// features are those of WebAssembly 2.0, and tail calls, which compilers emit
// by now.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall

// check finds what keeps a module from being run as a task.
func check(wasm []byte, code wazero.CompiledModule) error {
	for _, f := range code.ImportedFunctions() {
		from, name, _ := f.Import()
		c, known := calls[name]
		if from == wasiModule && (name == "proc_exit" || known && sameTypes(c.params, f.ParamTypes())) {
			continue
		}
		return fmt.Errorf("it imports %.60s.%.60s, and a task has the functions of %s only", from, name, wasiModule)
	}
	if m := code.ImportedMemories(); len(m) > 0 {
		return errors.New("it imports a memory instead of having one of its own")
	}
	f := code.ExportedFunctions()["_start"]
	switch {
	case f == nil:
		return errors.New("it exports no _start: it is a library, not a program")
	case len(f.ParamTypes())+len(f.ResultTypes()) > 0:
		return errors.New("its _start has parameters or a result")
	case code.ExportedMemories()["memory"] == nil:
		return errors.New("it does not export its memory")
	}
	return nil
}

func sameTypes(params string, have []api.ValueType) bool {
	var want []api.ValueType
	for _, p := range params {
		if p == 'I' {
			want = append(want, api.ValueTypeI64)
		} else {
			want = append(want, api.ValueTypeI32)
		}
	}
	return slices.Equal(want, have)
}

// component is how a module of the component model begins, where others have a
// version of 1.
const component = "\x00asm\x0d\x00\x01\x00"

// readModule reads what is to be compiled.
func readModule(r io.Reader) ([]byte, error) {
	wasm, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	switch {
	case err != nil:
		return nil, err
	case len(wasm) > maxModule:
		return nil, fmt.Errorf("it is larger than %d bytes", maxModule)
	case strings.HasPrefix(string(wasm[:min(len(wasm), 8)]), component):
		return nil, errors.New("it is a component (WASI preview 2), and a task is a module of preview 1")
	}
	return wasm, nil
}
