package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
	"github.com/drupe-os/drupe/sdk/module"
	"github.com/drupe-os/drupe/sdk/policy"
)

// draft is a module on its way through the stages of an install.
type draft struct {
	host     *Host
	wasm     []byte
	outline  *outline
	manifest sdk.Manifest
	limits   sdk.PluginLimits
	out      *Module
}

// stages are what a module passes, in order. Nothing that an earlier stage has
// to keep out ever reaches a later one: wazero sees only what was scanned, and
// what wazero compiles is what the last stage before it left in draft.wasm.
var stages = []struct {
	name string
	run  func(context.Context, *draft) error
}{
	{"scan", func(_ context.Context, d *draft) (err error) { d.outline, err = scan(d.wasm); return err }},
	{"manifest", readManifest},
	{"interface", checkInterface},
	{"compile", compile},
	{"link", link},
}

// Install checks and compiles a module. It takes up to seconds of CPU and
// belongs off the leader's path. The module is closed by its Close. Errors:
// Invalid, TooLarge and Unsupported with what is wrong with the module.
func (h *Host) Install(ctx context.Context, wasm []byte) (*Module, error) {
	d := &draft{host: h, wasm: wasm}
	for _, s := range stages {
		if err := s.run(ctx, d); err != nil {
			if d.out != nil {
				_ = d.out.Close(ctx) // the reason for refusing it is the error that matters
			}
			return nil, err
		}
	}
	return d.out, nil
}

// abi is the version of the plugin interface this host speaks.
const abi = 1

func readManifest(_ context.Context, d *draft) (err error) {
	if d.manifest, err = module.Manifest(d.wasm); err != nil {
		return err
	}
	m := &d.manifest
	subject := "plugin/" + string(m.Name)
	switch {
	case !sdk.ValidName(string(m.Name)):
		return sdk.Errorf(sdk.Invalid, "module", "its manifest names it %q", m.Name).At("name").
			ToFix("1 to 63 of a-z, 0-9 and inner hyphens")
	case m.Point != sdk.PointPolicy && m.Point != sdk.PointFramework:
		return sdk.Errorf(sdk.Unsupported, subject, "extension point %q is not known here", m.Point).At("point").
			ToFix("one of: policy, framework")
	case m.ABI != abi:
		return sdk.Errorf(sdk.Unsupported, subject, "it speaks version %d of the plugin interface", m.ABI).At("abi").
			Because("this server speaks version %d", abi).ToFix("build it against this server's sdk")
	}
	d.limits, err = limitsOf(m)
	return err
}

// checkInterface compares what the module imports and exports with what its
// extension point has.
func checkInterface(_ context.Context, d *draft) error {
	o, subject := d.outline, "plugin/"+string(d.manifest.Name)
	marker, wanted, hosted := policy.ExportMarker, policyExports, policyImports
	if d.manifest.Point == sdk.PointFramework {
		marker, wanted, hosted = framework.ExportMarker, frameworkExports, frameworkImports
	}
	if !o.exports[marker] {
		return sdk.Errorf(sdk.Unsupported, subject, "it does not export %s", marker).
			Because("that is how a module says that it is a %s of version %d", d.manifest.Point, abi)
	}
	for name := range wanted {
		if !o.exports[name] {
			return sdk.Errorf(sdk.Invalid, subject, "it does not export %s", name)
		}
	}
	for _, i := range o.imports {
		_, known := hosted[i.name]
		_, wasi := wasiFunctions[i.name]
		if i.module == hostModule && known || i.module == wasiModule && wasi {
			continue
		}
		return sdk.Errorf(sdk.Denied, subject, "it imports %s.%s, which a %s is not given", i.module, i.name, d.manifest.Point).
			ToFix("a plugin has only what sdk/README.md lists")
	}
	switch {
	case o.memories != 1 || !o.exports["memory"]:
		return sdk.Errorf(sdk.Invalid, subject, "it does not export its memory")
	case o.start:
		return sdk.Errorf(sdk.Invalid, subject, "it has a start function").
			Because("it would run outside any call").ToFix("export _initialize instead: in Go, -buildmode=c-shared")
	case o.pagesMin > d.limits.MemoryPages:
		return sdk.Errorf(sdk.TooLarge, subject, "it begins with %d pages of memory, its limit is %d", o.pagesMin, d.limits.MemoryPages).
			ToFix("raise limits.memory_pages in its manifest")
	}
	return nil
}

// compile makes native code of the module, or takes it from the cache. A cache
// that fails is passed by: it is there to save time, not to be needed.
func compile(ctx context.Context, d *draft) error {
	sum := sha256.Sum256(d.wasm)
	d.out = &Module{
		host: d.host, manifest: d.manifest, limits: d.limits, size: int64(len(d.wasm)),
		digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:])),
	}
	err := d.out.compile(ctx, d.wasm, d.host.cache)
	if err != nil && d.host.config.CacheDir != "" {
		_ = d.out.Close(ctx) // nothing runs in it
		err = d.out.compile(ctx, d.wasm, nil)
	}
	if err != nil {
		return sdk.Errorf(sdk.Invalid, "plugin/"+string(d.manifest.Name), "it is no valid module: %s", cut(err.Error(), maxDetail))
	}
	return nil
}

// compile makes the module's runtime and its code.
func (m *Module) compile(ctx context.Context, wasm []byte, cache wazero.CompilationCache) (err error) {
	// Loops check for the deadline: wazero's own way to end a runaway. It is
	// slow, and it is what there is without metering; without it one endless
	// loop would stop the whole process at the next garbage collection.
	config := wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).
		WithCloseOnContextDone(true).WithDebugInfoEnabled(false)
	if cache != nil {
		config = config.WithCompilationCache(cache)
	}
	m.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	m.code, err = m.runtime.CompileModule(ctx, wasm)
	return err
}

// link checks the types of what the module exports and imports, and makes what
// it may import.
func link(ctx context.Context, d *draft) error {
	m := d.out
	wanted, hosted := policyExports, policyImports
	if m.manifest.Point == sdk.PointFramework {
		wanted, hosted = frameworkExports, frameworkImports
	}
	exports := m.code.ExportedFunctions()
	for name, want := range wanted {
		f := exports[name]
		if f == nil || signature(f) != want {
			return sdk.Errorf(sdk.Invalid, "plugin/"+string(m.manifest.Name), "its export %s has another type than %s", name, want)
		}
	}
	if f := exports[initialize]; f != nil && signature(f) != "()" {
		return sdk.Errorf(sdk.Invalid, "plugin/"+string(m.manifest.Name), "its export %s has another type than ()", initialize)
	}
	known := map[string]map[string]hostFunction{hostModule: hosted, wasiModule: wasiFunctions}
	for _, f := range m.code.ImportedFunctions() {
		from, name, _ := f.Import()
		if h := known[from][name]; signature(f) != h.signature() {
			return sdk.Errorf(sdk.Invalid, "plugin/"+string(m.manifest.Name), "its import %s.%s has another type than %s", from, name, h.signature())
		}
	}
	for name, fns := range known {
		b := m.runtime.NewHostModuleBuilder(name)
		for name, f := range fns {
			b.NewFunctionBuilder().WithGoModuleFunction(f.run, f.params, f.results).Export(name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return sdk.Errorf(sdk.Internal, "plugins", "cannot make the imports: %v", err)
		}
	}
	return nil
}

// signature writes a function's type as "(i32 i32) i64".
func signature(f api.FunctionDefinition) string { return signatureOf(f.ParamTypes(), f.ResultTypes()) }

func (h *hostFunction) signature() string { return signatureOf(h.params, h.results) }

func signatureOf(params, results []api.ValueType) string {
	var in, out []string
	for _, t := range params {
		in = append(in, api.ValueTypeName(t))
	}
	for _, t := range results {
		out = append(out, api.ValueTypeName(t))
	}
	return strings.TrimSuffix("("+strings.Join(in, " ")+") "+strings.Join(out, " "), " ")
}
