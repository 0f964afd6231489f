// Package guests gives tests and benchmarks the built plugins, as modules in the
// kernel's own store.
package guests

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/drupe-os/drupe/kernel"
	"github.com/drupe-os/drupe/kernel/host"
	"github.com/drupe-os/drupe/sdk"
)

// Root returns the root of the source tree.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Build builds the plugins if their sources are newer, and returns the folder
// they lie in. Tests of several packages may call it at once.
func Build() (string, error) {
	root := Root()
	if err := os.MkdirAll(filepath.Join(root, ".build"), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(root, ".build", "plugins.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	cmd := exec.Command("make", "-s", "-C", root, "plugins")
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make plugins: %w\n%s", err, out)
	}
	return filepath.Join(root, "bin", "plugins"), nil
}

// Open compiles the named plugins into a store. What is compiled is kept in the
// build folder, so that the next test finds it. Close the store.
func Open(ctx context.Context, names ...string) (*kernel.Store, []sdk.Plugin, error) {
	dir, err := Build()
	if err != nil {
		return nil, nil, err
	}
	h, err := host.New(host.Config{CacheDir: filepath.Join(Root(), ".build", "cache")})
	if err != nil {
		return nil, nil, err
	}
	store, err := kernel.NewStore(h, filepath.Join(Root(), ".build", "modules"))
	if err != nil {
		return nil, nil, err
	}
	var out []sdk.Plugin
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name+".wasm"))
		if err != nil {
			return nil, nil, err
		}
		p, err := store.Install(ctx, b)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, p)
	}
	return store, out, nil
}
