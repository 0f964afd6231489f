// Package wasm makes WebAssembly modules ready to run on a node: each is
// compiled once, in a caged process, and lies then with its native code in a
// folder that is a layer of the containers of its tasks.
//
// A Store lies in one folder:
//
//	RUNNER/runner/drupe-wasm       the program that runs modules (isolation/wasm)
//	RUNNER/modules/HEX/module.wasm a module
//	RUNNER/modules/HEX/code/       its native code
//	tmp/                           what is being compiled; emptied at start
//
// RUNNER names the program's build, for the code is good for that alone. Native
// code that was made of a hostile module is run by no task but that module's
// own, in its sandbox.
package wasm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Where a task's container has what the store made.
const (
	Program = "/drupe-wasm"
	Module  = "/module.wasm"
	Code    = "/code"
)

// patience is how long compiling one module may take.
const patience = 5 * time.Minute

// Store keeps compiled modules. Its methods may be called concurrently.
type Store struct {
	dir     string
	runner  func() (string, error) // the folder of the program's build
	turn    chan struct{}          // held to compile: it takes all the CPU there is
	sweeper sync.RWMutex           // held for writing while modules go
}

// Open opens or makes the store in dir. program returns the program that runs
// modules; it is asked for with the first module.
func Open(dir string, program func() ([]byte, error)) (*Store, error) {
	if err := os.RemoveAll(filepath.Join(dir, "tmp")); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "modules", "clear what was half compiled: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o711); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "modules", "make the store: %w", err)
	}
	s := &Store{dir: dir, turn: make(chan struct{}, 1)}
	var mu sync.Mutex
	var home string
	s.runner = func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if home != "" {
			return home, nil
		}
		b, err := program()
		if err == nil {
			home, err = s.install(b)
		}
		return home, err
	}
	return s, nil
}

// install unpacks the program and returns the folder of its build.
func (s *Store) install(program []byte) (string, error) {
	sum := sha256.Sum256(program)
	home := filepath.Join(s.dir, hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(filepath.Join(home, "runner")); err == nil {
		return home, nil
	}
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "runner-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.MkdirAll(filepath.Join(home, "modules"), 0o711); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tmp, filepath.Base(Program)), program, 0o755); err != nil {
		return "", err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	return home, os.Rename(tmp, filepath.Join(home, "runner"))
}

// Prepare returns the layers of a container that runs the module in file, which
// is known as d. It takes seconds the first time. Errors: *isolation.Error.
func (s *Store) Prepare(ctx context.Context, file string, d sdk.Digest) (layers []string, err error) {
	home, err := s.runner()
	if err != nil {
		return nil, classify(err, "unpack the program that runs modules")
	}
	s.sweeper.RLock()
	defer s.sweeper.RUnlock()
	_, name, _ := strings.Cut(string(d), ":")
	at := filepath.Join(home, "modules", name)
	layers = []string{filepath.Join(home, "runner"), at}
	if s.touch(at) {
		return layers, nil
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, classify(ctx.Err(), "wait for other modules")
	}
	if s.touch(at) {
		return layers, nil
	}
	if err := s.compile(ctx, home, file, at); err != nil {
		return nil, err
	}
	return layers, nil
}

// touch reports whether the module is there and notes that it is wanted.
func (s *Store) touch(at string) bool {
	now := time.Now()
	return os.Chtimes(at, now, now) == nil
}

// compile makes the module's folder at a path.
func (s *Store) compile(ctx context.Context, home, file, at string) error {
	tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "module-")
	if err != nil {
		return classify(err, "compile")
	}
	defer os.RemoveAll(tmp)
	module, code := filepath.Join(tmp, filepath.Base(Module)), filepath.Join(tmp, filepath.Base(Code))
	if err := copyFile(module, file); err != nil {
		return classify(err, "copy the module")
	}
	if err := os.Mkdir(code, 0o700); err != nil {
		return classify(err, "compile")
	}
	if err := os.Chown(code, nobody, nobody); err != nil {
		return classify(err, "compile")
	}
	if err := cage(ctx, filepath.Join(home, "runner", filepath.Base(Program)), module, code); err != nil {
		return err
	}
	if err := own(code); err != nil {
		return classify(err, "take over the code")
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return classify(err, "compile")
	}
	return classify(os.Rename(tmp, at), "keep the module")
}

// nobody is whom the program becomes before it reads a module.
const nobody = 65534

// cage runs the compiler on a module with nothing around it but the folder for
// its code: no network, no other processes, and, by its own doing, no other
// files and hard limits. Errors: *isolation.Error.
func cage(ctx context.Context, program, module, code string) error {
	in, err := os.Open(module)
	if err != nil {
		return classify(err, "compile")
	}
	defer in.Close()
	out, err := os.Open(code)
	if err != nil {
		return classify(err, "compile")
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	said := &head{}
	cmd := exec.CommandContext(ctx, program, "compile")
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = []string{}, "/", in, said, []*os.File{out}
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true,
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return classify(ctx.Err(), "compile")
	case errors.As(err, &exit) && exit.ExitCode() == invalidModule:
		return fail(sdk.ReasonImageInvalid, sdk.Errorf(sdk.Invalid, "module", "it cannot be run: %s", strings.TrimSpace(said.String())).
			ToFix("build it as a program for WASI preview 1: in Go, GOOS=wasip1 GOARCH=wasm"))
	case errors.As(err, &exit):
		return fail(sdk.ReasonImageInvalid, sdk.Errorf(sdk.TooLarge, "module", "it cannot be compiled within the limits there are").
			Because("the compiler ended with: %v", exit).ToFix("make the module smaller"))
	}
	return classify(err, "compile")
}

// invalidModule is the exit code of a compiler that refuses a module.
const invalidModule = 126

// head keeps the beginning of what is written to it.
type head struct{ bytes.Buffer }

func (h *head) Write(b []byte) (int, error) {
	if room := 2<<10 - h.Len(); room > 0 {
		h.Buffer.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}

// own makes the code root's and open to be read by everybody. What is neither a
// file nor a folder is nothing a compiler makes.
func own(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		switch {
		case e.IsDir():
			mode = 0o755
		case !e.Type().IsRegular():
			return &fs.PathError{Op: "take over", Path: path, Err: errors.New("it is no regular file")}
		}
		if err := os.Lchown(path, 0, 0); err != nil {
			return err
		}
		return os.Chmod(path, mode)
	})
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// Sweep removes modules that are not in use and were not asked for within age,
// of other builds of the program too. It returns how many went.
func (s *Store) Sweep(inUse []sdk.Digest, age time.Duration) (int, error) {
	s.sweeper.Lock()
	defer s.sweeper.Unlock()
	old, err := filepath.Glob(filepath.Join(s.dir, "*", "modules", "*"))
	if err != nil {
		return 0, err
	}
	n, errs := 0, []error(nil)
	for _, at := range old {
		info, err := os.Stat(at)
		used := slices.ContainsFunc(inUse, func(d sdk.Digest) bool { return strings.HasSuffix(string(d), ":"+filepath.Base(at)) })
		if err != nil || used || time.Since(info.ModTime()) < age {
			continue
		}
		if err := os.RemoveAll(at); err != nil {
			errs = append(errs, err)
			continue
		}
		n++
	}
	return n, errors.Join(errs...)
}
