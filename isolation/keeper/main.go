// Package keeper is the process that is the parent of a node's containers.
//
// It is small, static and knows nothing of clusters: it creates, starts,
// signals and removes containers through runc's libcontainer, writes what they
// print to their log files, and records how they end in a file before it tells
// anybody. It outlives the agent that started it, and containers outlive it: a
// keeper that is started on the state folder of one that crashed finds them by
// libcontainer's own records and carries on. Nothing is shared between the
// keepers of one machine.
//
// Everything that touches runc's own packages is here, so that a new version
// of runc is a change to this package alone.
package keeper

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	_ "github.com/opencontainers/cgroups/devices"           // without it no device rule can be set
	_ "github.com/opencontainers/runc/libcontainer/nsenter" // enters namespaces before Go's runtime starts
)

// The same program is also the first process of every container, up to the
// point where the task's own program replaces it.
func init() {
	if len(os.Args) > 1 && os.Args[1] == "init" {
		libcontainer.Init()
	}
	// libcontainer enters containers' mount namespaces with threads that Go then
	// ends. The first thread cannot be ended: it would stay in one, and keep all
	// that is mounted there for as long as the keeper lives. So no other
	// goroutine than Main's may have it.
	runtime.LockOSThread()
}

// options are the keeper's command line.
type options struct {
	state    string
	build    string
	cgroup   string
	dieWith  int
	noUser   bool
	diskPoll bool
}

// Main runs the keeper and returns its exit code. It says "ready", or what is
// wrong, on standard output, and writes its own log to standard error.
func Main() int {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case holdArg:
			return hold()
		case stubArg:
			return stub()
		}
	}
	if len(os.Args) > 1 && os.Args[1] == archiveArg {
		return archiver(os.Args[2:])
	}
	var o options
	flags := flag.NewFlagSet("drupe-keeper", flag.ContinueOnError)
	flags.StringVar(&o.state, "state", "", "state folder")
	flags.StringVar(&o.build, "build", "", "digest of this program")
	flags.StringVar(&o.cgroup, "cgroup", "", "cgroup to put the containers' into")
	flags.IntVar(&o.dieWith, "die-with", 0, "process not to outlive")
	flags.BoolVar(&o.noUser, "no-userns", false, "give tasks the host's user ids")
	flags.BoolVar(&o.diskPoll, "disk-poll", false, "bound disks without loop devices")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return 2
	}
	if o.state == "" || o.cgroup == "" {
		fmt.Println("this is a part of drupe that is started by its agent; there is nothing to run by hand")
		return 2
	}
	nameProcess("drupe-keeper")
	if err := serve(o); err != nil {
		fmt.Println(err)
		logf("%v", err)
		return 1
	}
	return 0
}

func serve(o options) error {
	lock, err := lockFolder(o.state, 10*time.Second)
	if err != nil {
		return err
	}
	defer lock.Close()
	exits, err := newWatcher()
	if err != nil {
		return err
	}
	k, err := newKeeper(o, exits)
	if err != nil {
		return err
	}
	k.adopt()
	if o.dieWith != 0 {
		err := k.master.follow(o.dieWith)
		if err == nil && os.Getppid() != o.dieWith {
			err = errors.New("the process not to outlive has ended already")
		}
		if err != nil {
			k.destroy()
			return err
		}
	}
	go k.watchDisks()
	s, err := listen(k)
	if err != nil {
		return err
	}
	// The first processes of containers inherit this: they have little to do
	// in parallel, and fewer threads start faster.
	os.Setenv("GOMAXPROCS", "1")
	fmt.Println("ready")
	forgetStdout()
	s.run()
	return nil
}

// lockFolder makes this process the only keeper of the folder. One that is
// about to end is waited for.
func lockFolder(dir string, patience time.Duration) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "keeper.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			f.Close()
			return nil, fmt.Errorf("another keeper holds %s: %w", dir, err)
		}
	}
}

// forgetStdout lets go of the pipe to whoever started the keeper.
func forgetStdout() {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer null.Close()
	unix.Dup3(int(null.Fd()), 1, 0)
}

// nameProcess sets the name that ps shows; the program itself has none, as it
// is run from memory.
func nameProcess(name string) {
	b := append([]byte(name), 0)
	unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&b[0])), 0, 0, 0)
}

func logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf(format, args...))
}

// isErrno reports whether err is one of the numbers, or says so in words that
// came through a pipe.
func isErrno(err error, numbers ...syscall.Errno) bool {
	for _, n := range numbers {
		if errors.Is(err, n) {
			return true
		}
	}
	return false
}
