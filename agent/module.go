package agent

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/agent/wasm"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// noRunner is what an agent says that was built without the program that runs
// modules.
func noRunner() ([]byte, error) {
	return nil, sdk.Errorf(sdk.Unsupported, "module", "this agent cannot run WebAssembly modules").
		Because("it was built without the program that does").ToFix("build with: make")
}

// openModules opens the store of compiled modules.
func openModules(cfg *Config) (*wasm.Store, error) {
	runner := cfg.ModuleRunner
	if runner == nil {
		runner = noRunner
	}
	return wasm.Open(filepath.Join(cfg.Dir, "wasm"), runner)
}

// module gets a WebAssembly module onto the node. It comes as the image of a
// container that runs it. Errors: *image.Error, *isolation.Error.
func (a *Agent) module(ctx context.Context, ref string) (*image.Image, error) {
	file, d, err := a.cfg.Images.ResolveModule(ctx, ref)
	if err != nil {
		return nil, err
	}
	layers, err := a.modules.Prepare(ctx, file, d)
	if err != nil {
		return nil, err
	}
	return &image.Image{Digest: d, Layers: layers}, nil
}

// moduleProgram is the container of a task that runs a module: the program
// that runs it, told of the task's volumes and ports.
func moduleProgram(as *sdk.Assignment, img *image.Image, env []string, memory int64) isolation.Program {
	w := as.Template.Run.Wasm
	args := []string{wasm.Program, "run", "-module", wasm.Module, "-cache", wasm.Code}
	if memory > 0 {
		args = append(args, "-memory", strconv.FormatInt(memory, 10))
	}
	for _, v := range as.Template.Volumes {
		args = append(args, "-mount", v.Path)
	}
	for _, p := range as.Ports {
		args = append(args, "-listen", p.Name+"="+strconv.Itoa(int(p.Port)))
	}
	args = append(args, "--", strings.TrimSuffix(filepath.Base(w.Module), ".wasm"))
	for _, arg := range w.Args {
		args = append(args, expand(arg, env))
	}
	// A module finds no programs: a path to search for them means nothing.
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return e == defaultPath })
	return isolation.Program{Layers: img.Layers, ReadOnly: true, Args: args, Env: env, WorkDir: "/", User: "0:0"}
}
