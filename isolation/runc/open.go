package runc

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
)

// Config says where containers are kept and what is to become of them.
type Config struct {
	// StateDir is the folder of one keeper and its containers: an absolute
	// path, for root only. It is made when missing.
	StateDir string
	// Keeper is the keeper's program: the ELF file itself.
	Keeper []byte
	// CgroupParent is the cgroup that containers get theirs in. Relative names
	// are below the keeper's own cgroup (on cgroup v2: beside it). Empty: a name
	// made from StateDir. No two keepers may have the same.
	CgroupParent string
	// DieWith: when this process ends, however that may be, its containers are
	// killed and all that was made for them is removed. Otherwise they live on.
	DieWith bool
	// NoUserNamespaces gives tasks the host's own user ids. Less is then between
	// a task and the machine; for machines whose file systems cannot do it.
	NoUserNamespaces bool
	// DiskByPoll bounds tasks' files by looking at them now and then, without
	// loop devices.
	DiskByPoll bool
}

// Open connects to the keeper of the state folder, or starts it. A keeper of
// another build is replaced by this one; the containers do not notice. Errors:
// Invalid for a wrong Config, Unsupported where containers cannot be had, else
// Unavailable.
func Open(ctx context.Context, cfg Config) (*Client, error) {
	if !filepath.IsAbs(cfg.StateDir) {
		return nil, sdk.Errorf(sdk.Invalid, "keeper", "state folder %q is not an absolute path", cfg.StateDir)
	}
	if len(cfg.Keeper) == 0 {
		return nil, sdk.Errorf(sdk.Unsupported, "keeper", "this build has no keeper").
			ToFix("build with make, which embeds it")
	}
	if os.Geteuid() != 0 {
		return nil, sdk.Errorf(sdk.Unsupported, "keeper", "containers need root").ToFix("run the agent as root")
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "keeper", "state folder: %w", err)
	}
	sum := sha256.Sum256(cfg.Keeper)
	build := hex.EncodeToString(sum[:8])
	hello := Hello{}
	if cfg.DieWith {
		hello.DieWith = os.Getpid()
	}
	c := &Client{stateDir: cfg.StateDir}
	err := c.call(ctx, OpHello, hello, &c.info)
	if err == nil && c.info.Build == build {
		return c, nil
	}
	if err == nil {
		if err := c.call(ctx, OpRetire, nil, nil); err != nil && sdk.KindOf(err) != sdk.Unavailable {
			return nil, err
		}
	} else if sdk.KindOf(err) != sdk.Unavailable {
		return nil, err
	}
	if err := start(ctx, cfg, build); err != nil {
		return nil, err
	}
	if err := c.call(ctx, OpHello, hello, &c.info); err != nil {
		return nil, err
	}
	return c, nil
}

// start runs a keeper and waits until it is ready. A keeper that is about to
// end holds the folder's lock until it is done; the new one waits for that.
func start(ctx context.Context, cfg Config, build string) error {
	program, err := sealed(cfg.Keeper)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "keeper", "its program cannot be put into memory: %w", err)
	}
	defer program.Close()
	diary, err := os.OpenFile(filepath.Join(cfg.StateDir, "keeper.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "keeper", "its log: %w", err)
	}
	defer diary.Close()
	ready, said, err := os.Pipe()
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "keeper", "%w", err)
	}
	defer ready.Close()

	args := []string{"drupe-keeper", "-state", cfg.StateDir, "-build", build, "-cgroup", cgroupParent(cfg)}
	if cfg.DieWith {
		args = append(args, "-die-with", strconv.Itoa(os.Getpid()))
	}
	if cfg.NoUserNamespaces {
		args = append(args, "-no-userns")
	}
	if cfg.DiskByPoll {
		args = append(args, "-disk-poll")
	}
	cmd := &exec.Cmd{
		Path: fmt.Sprintf("/proc/self/fd/%d", program.Fd()),
		Args: args,
		Dir:  "/",
		// Nothing of the agent's environment is the keeper's business.
		Env:         []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
		Stdout:      said,
		Stderr:      diary,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = cmd.Start()
	runtime.KeepAlive(program)
	said.Close()
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, "keeper", "cannot be started: %w", err)
	}
	go cmd.Wait()
	stop := context.AfterFunc(ctx, func() { ready.Close() })
	defer stop()
	answer := make([]byte, 4096)
	n, _ := ready.Read(answer)
	switch text := strings.TrimSpace(string(answer[:n])); {
	case text == "ready":
		return nil
	case ctx.Err() != nil:
		return sdk.Errorf(sdk.Timeout, "keeper", "not ready in time: %w", context.Cause(ctx))
	case text == "":
		return sdk.Errorf(sdk.Unavailable, "keeper", "ended while starting").ToFix("see %s", diary.Name())
	default:
		return sdk.Errorf(sdk.Unavailable, "keeper", "cannot start: %s", text)
	}
}

// sealed returns a file in memory that holds program and that nothing can
// change any more: what runs as root from it cannot be overwritten by a task
// through /proc/self/exe.
func sealed(program []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("drupe-keeper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("drupe-keeper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "drupe-keeper")
	if _, err := f.Write(program); err != nil {
		f.Close()
		return nil, err
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// cgroupParent returns the wanted cgroup, or one that no other state folder
// leads to.
func cgroupParent(cfg Config) string {
	if cfg.CgroupParent != "" {
		return cfg.CgroupParent
	}
	sum := sha256.Sum256([]byte(filepath.Clean(cfg.StateDir)))
	return "drupe-" + hex.EncodeToString(sum[:6])
}
