package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	root  string // of the source tree
	base  string // folder that everything made here lies in
	drupe string // the program
)

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) (code int) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "skipped: containers need root")
		return 0
	}
	_, file, _, _ := runtime.Caller(0)
	root = filepath.Dir(filepath.Dir(filepath.Dir(file)))
	drupe = filepath.Join(root, "bin", "drupe")
	if os.Getenv(insideEnv) == "" {
		if err := build(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return inside()
	}
	err := loopback()
	if err == nil {
		base, err = os.MkdirTemp("", "drupe-e2e-")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// All that is started inherits this, so that what it leaves is found.
	os.Setenv("TMPDIR", base)
	code = m.Run()
	for _, left := range leftovers() {
		fmt.Fprintln(os.Stderr, "left behind:", left)
		code = 1
	}
	if err := os.RemoveAll(base); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// insideEnv marks the process that runs the tests.
const insideEnv = "DRUPE_E2E_INSIDE"

// inside runs the tests in a process with a network of its own, so that the
// ports of these clusters and of whatever else runs on the machine do not meet.
func inside() int {
	runtime.LockOSThread() // the child ends with this thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "a network namespace for the tests:", err)
		return 1
	}
	if err != nil && cmd.ProcessState.ExitCode() < 0 {
		fmt.Fprintln(os.Stderr, "the tests ended:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// loopback puts the loopback device of a new network to work.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
}

// build brings the program, the plugins and the images up to date. Several
// packages may do so at once.
func build() error {
	if err := os.MkdirAll(filepath.Join(root, ".build"), 0o755); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(root, ".build", "plugins.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	cmd := exec.Command("make", "-s", "-C", root, "bin/drupe", "bin/plugin-pack", "images")
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// image is the address of an image that the Makefile builds.
func image(name string) string { return "oci:" + filepath.Join(root, "bin", "images", name) }
