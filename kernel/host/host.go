package host

import (
	"context"
	"os"
	"syscall"

	"github.com/tetratelabs/wazero"

	"github.com/drupe-os/drupe/sdk"
)

// Config is what a Host needs.
type Config struct {
	// CacheDir keeps compiled modules between runs. Its files are native code
	// that is trusted when it is loaded, so the folder must belong to this
	// process's user and be closed to everybody else; it is made so when it does
	// not exist. "" keeps them in memory only.
	CacheDir string
	// Log is given each line a plugin writes. It must not block. nil drops them.
	Log func(plugin sdk.PluginName, line string)
}

// Host compiles plugins. It is safe for concurrent use.
type Host struct {
	config Config
	cache  wazero.CompilationCache
}

// New returns a host. Errors: a cache folder that cannot be made, or that others
// may write to.
func New(c Config) (*Host, error) {
	if c.Log == nil {
		c.Log = func(sdk.PluginName, string) {}
	}
	if c.CacheDir == "" {
		return &Host{config: c, cache: wazero.NewCompilationCache()}, nil
	}
	if err := os.MkdirAll(c.CacheDir, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "plugins", "cannot make the compile cache: %w", err)
	}
	if err := private(c.CacheDir); err != nil {
		return nil, err
	}
	cache, err := wazero.NewCompilationCacheWithDir(c.CacheDir)
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "plugins", "cannot open the compile cache: %w", err)
	}
	return &Host{config: c, cache: cache}, nil
}

// private checks that nobody else may write to a folder, or read it.
func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "plugins", "cannot look at the compile cache: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || ok && int(owner.Uid) != os.Geteuid() {
		return sdk.Errorf(sdk.Denied, "plugins", "the compile cache %s is open to others", dir).
			Because("mode %s, owner %d", info.Mode(), owner.Uid).
			ToFix("remove it, or make it the server's own with mode 0700")
	}
	return nil
}

// Close drops what is compiled. Modules must be closed before.
func (h *Host) Close(ctx context.Context) error { return h.cache.Close(ctx) }
