package kernel

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/drupe-os/drupe/kernel/host"
	"github.com/drupe-os/drupe/sdk"
)

// Store keeps the modules of plugins in a folder, by digest, and the compiled
// ones in memory.
type Store struct {
	host *host.Host
	dir  string

	mu     sync.Mutex
	loaded map[sdk.Digest]*host.Module
}

// NewStore opens a store of modules. Errors: a folder that cannot be made.
func NewStore(h *host.Host, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "plugins", "%w", err)
	}
	return &Store{host: h, dir: dir, loaded: map[sdk.Digest]*host.Module{}}, nil
}

// Install implements Modules.
func (s *Store) Install(ctx context.Context, module []byte) (sdk.Plugin, error) {
	m, err := s.host.Install(ctx, module)
	if err != nil {
		return sdk.Plugin{}, err
	}
	if err := s.keep(m.Digest(), module); err != nil {
		return sdk.Plugin{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded[m.Digest()] != nil {
		m.Close(ctx)
		m = s.loaded[m.Digest()]
	}
	s.loaded[m.Digest()] = m
	return sdk.Plugin{Manifest: m.Manifest(), Digest: m.Digest(), Size: m.Size()}, nil
}

// path is where a module lies.
func (s *Store) path(d sdk.Digest) string {
	return filepath.Join(s.dir, strings.TrimPrefix(string(d), "sha256:")+".wasm")
}

// keep writes a module down, whole or not at all.
func (s *Store) keep(d sdk.Digest, module []byte) error {
	path := s.path(d)
	if have, err := os.Stat(path); err == nil && have.Size() == int64(len(module)) {
		return nil
	}
	f, err := os.CreateTemp(s.dir, "new-*")
	if err != nil {
		return sdk.Errorf(sdk.Exhausted, "plugins", "%w", err)
	}
	defer os.Remove(f.Name()) // gone already when it was renamed
	_, err = f.Write(module)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return sdk.Errorf(sdk.Exhausted, "plugins", "the module cannot be kept: %w", err)
	}
	return nil
}

// module returns a compiled module, from memory or from the folder.
func (s *Store) module(ctx context.Context, p *sdk.Plugin) (*host.Module, error) {
	s.mu.Lock()
	m := s.loaded[p.Digest]
	s.mu.Unlock()
	if m != nil {
		return m, nil
	}
	b, err := os.ReadFile(s.path(p.Digest))
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "plugin/"+string(p.Manifest.Name), "its module is not on this server: %w", err).
			ToFix("install it again")
	}
	installed, err := s.Install(ctx, b)
	if err != nil {
		return nil, err
	}
	if installed.Digest != p.Digest {
		return nil, sdk.Errorf(sdk.Corrupt, "plugin/"+string(p.Manifest.Name), "its module on disk is not what was installed").
			Because("%s instead of %s", installed.Digest, p.Digest).ToFix("install it again")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loaded[p.Digest], nil
}

// Load implements Modules.
func (s *Store) Load(ctx context.Context, p *sdk.Plugin) error {
	_, err := s.module(ctx, p)
	return err
}

// Policy implements Loader.
func (s *Store) Policy(ctx context.Context, p *sdk.Plugin) (Policy, error) {
	m, err := s.module(ctx, p)
	if err != nil {
		return nil, err
	}
	return m.Policy(ctx)
}

// Framework implements Loader.
func (s *Store) Framework(ctx context.Context, p *sdk.Plugin) (Framework, error) {
	m, err := s.module(ctx, p)
	if err != nil {
		return nil, err
	}
	return m.Framework(ctx)
}

// Close closes all modules.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.loaded {
		m.Close(ctx)
	}
	clear(s.loaded)
	return s.host.Close(ctx)
}

var _ Modules = (*Store)(nil)
