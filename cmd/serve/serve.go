// Package serve joins what knows nothing of each other: the kernel with its log,
// gate and plugins, the agent with its isolator, and for drupe dev all of it in
// one process.
package serve

import (
	"bytes"
	"compress/gzip"
	"embed"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/drupe-os/drupe/sdk"
)

// embedded holds the keeper, the program that runs modules and the first-party
// plugins, compressed. The files
// are made by the Makefile.
//
//go:embed all:embedded
var embedded embed.FS

// unpack reads one embedded file.
func unpack(name string) ([]byte, error) {
	f, err := embedded.Open("embedded/" + name + ".gz")
	if err != nil {
		return nil, sdk.Errorf(sdk.Unsupported, name, "is not in this binary").
			Because("it was built without the Makefile").ToFix("build with: make")
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// keeper is the keeper's program.
var keeper = sync.OnceValues(func() ([]byte, error) { return unpack("keeper") })

// moduleRunner is the program that runs WebAssembly modules in containers.
func moduleRunner() ([]byte, error) { return unpack("wasm-runner") }

// builtin returns the modules of the first-party plugins.
func builtin() ([][]byte, error) {
	names, err := fs.Glob(embedded, "embedded/*.wasm.gz")
	if err != nil {
		return nil, err
	}
	out, errs := make([][]byte, len(names)), make([]error, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() { out[i], errs[i] = unpack(strings.TrimSuffix(filepath.Base(n), ".gz")) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		_, err := unpack("drf.wasm")
		return nil, err
	}
	return out, nil
}

// modules reads module files that are to be installed at the start.
func modules(paths []string) ([][]byte, error) {
	var out [][]byte
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			return nil, sdk.Errorf(sdk.NotFound, p, "the module cannot be read: %w", err)
		}
		out = append(out, b)
	}
	return out, nil
}

// logger writes this process's own log: text on standard error, at the level
// that DRUPE_LOG names (debug, info, warn, error), warn by default.
func logger(w io.Writer, getenv func(string) string) *slog.Logger {
	level := slog.LevelWarn
	if s := getenv("DRUPE_LOG"); s != "" {
		if err := level.UnmarshalText([]byte(s)); err != nil {
			level = slog.LevelInfo
		}
	}
	return slog.New(slog.NewTextHandler(&lines{w: w}, &slog.HandlerOptions{Level: level}))
}

// lines writes whole lines, whoever writes.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := io.Copy(l.w, bytes.NewReader(b))
	return len(b), err
}

// cacheDir is where compiled plugins are kept between runs: $DRUPE_CACHE, or
// drupe in the user's cache folder, or in the server's own data.
func cacheDir(getenv func(string) string, data string) string {
	if d := getenv("DRUPE_CACHE"); d != "" {
		return d
	}
	if d := getenv("XDG_CACHE_HOME"); d != "" {
		return filepath.Join(d, "drupe")
	}
	if h := getenv("HOME"); h != "" {
		return filepath.Join(h, ".cache", "drupe")
	}
	return filepath.Join(data, "cache")
}
