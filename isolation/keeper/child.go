package keeper

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// child is a process that a session has started in a container.
type child struct {
	k     *keeper
	task  sdk.TaskID
	proc  *libcontainer.Process
	pid   int
	pidfd *os.File
	ended <-chan struct{} // it has; its status has yet to be asked for

	// The keeper's ends. With a terminal they are all that one file.
	stdin          *os.File
	stdout, stderr *os.File
	terminal       *os.File

	mu     sync.Mutex
	reaped bool // its number may be another's
}

// stdio says what a child's standard files are.
type stdio struct {
	tty   bool
	input bool // otherwise there is nothing to read
}

// spawn starts proc in the container. Errors carry ReasonCommandNotFound or
// ReasonCommandDenied where it is the program.
func (k *keeper) spawn(p *place, proc *libcontainer.Process, files stdio) (*child, error) {
	// Not the task's own handle: that one is locked while a program starts, and
	// a container may hold that up.
	ctr, err := libcontainer.Load(k.runcDir, p.id)
	if err != nil {
		return nil, notStarted(p, err)
	}
	c := &child{k: k, task: p.t.id, proc: proc}
	theirs, err := c.files(files)
	defer closeFiles(theirs)
	if err != nil {
		c.close()
		return nil, notStarted(p, err)
	}
	// libcontainer starts from the folder at which the root file system was
	// mounted, which is there no more; where a program starts from has no
	// effect on where it ends up.
	if err := os.MkdirAll(ctr.Config().Rootfs, 0o711); err != nil {
		c.close()
		return nil, notStarted(p, err)
	}
	if err := ctr.Start(proc); err != nil {
		c.close()
		return nil, notStarted(p, err)
	}
	if c.pid, err = proc.Pid(); err == nil {
		if c.pidfd, err = openPidfd(c.pid); err == nil {
			c.ended, err = k.exits.watch(c.pidfd)
		}
	}
	if err != nil {
		proc.Signal(os.Kill)
		proc.Wait()
		closeFiles([]*os.File{c.pidfd})
		c.close()
		return nil, notStarted(p, err)
	}
	k.children.Add(1)
	if files.tty {
		c.terminal, err = receiveFile(c.stdin)
		c.stdin.Close()
		c.stdin, c.stdout = c.terminal, c.terminal
		if err != nil {
			c.kill()
			c.wait()
			return nil, notStarted(p, err)
		}
	}
	return c, nil
}

// notStarted says why a program was not started in a container that runs.
func notStarted(p *place, err error) error {
	if p.t.stopped() {
		return gone(p.t.id)
	}
	if err := explain(p.t.id, err); reasonIs(err, sdk.ReasonCommandNotFound, sdk.ReasonCommandDenied) {
		return err
	}
	return sdk.Errorf(sdk.Internal, "task/"+string(p.t.id), "the program of the session cannot be started").Because("%v", err)
}

// files makes the pipes, or the socket over which the terminal comes, and
// returns the ends that go to the container.
func (c *child) files(s stdio) (theirs []*os.File, err error) {
	if s.tty {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		c.stdin = os.NewFile(uintptr(pair[0]), "console")
		c.proc.ConsoleSocket = os.NewFile(uintptr(pair[1]), "console")
		return []*os.File{c.proc.ConsoleSocket}, nil
	}
	pipe := func(mine int) (*os.File, *os.File, error) {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return nil, nil, err
		}
		// Only the keeper's end may be told not to wait: the other belongs to
		// a program that knows nothing of that.
		unix.SetNonblock(fds[mine], true)
		own, other := os.NewFile(uintptr(fds[mine]), "session"), os.NewFile(uintptr(fds[1-mine]), "session")
		theirs = append(theirs, other)
		return own, other, nil
	}
	var stdin, stdout, stderr *os.File
	if s.input {
		if c.stdin, stdin, err = pipe(1); err != nil {
			return theirs, err
		}
	} else {
		if stdin, err = os.Open(os.DevNull); err != nil {
			return theirs, err
		}
		theirs = append(theirs, stdin)
	}
	if c.stdout, stdout, err = pipe(0); err != nil {
		return theirs, err
	}
	if c.stderr, stderr, err = pipe(0); err != nil {
		return theirs, err
	}
	c.proc.Stdin, c.proc.Stdout, c.proc.Stderr = stdin, stdout, stderr
	return theirs, nil
}

// receiveFile takes the file that was sent over a socket.
func receiveFile(socket *os.File) (*os.File, error) {
	name, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("the container's terminal did not come")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, errors.New("the container's terminal did not come")
	}
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), "terminal"), nil
}

// signal sends a signal to the child's process group.
func (c *child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		// It leads a session of its own, and so a group.
		if unix.Kill(-c.pid, sig) != nil {
			unix.Kill(c.pid, sig)
		}
	}
}

func (c *child) kill() { c.signal(unix.SIGKILL) }

func (c *child) resize(s session.Size) {
	raw, err := c.terminal.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: s.Rows, Col: s.Columns})
	})
}

// wait waits for the child's end and returns its code. What it printed can
// still be read, but nobody is waited for who has its pipes too.
func (c *child) wait() int32 {
	<-c.ended
	c.mu.Lock()
	c.reaped = true
	st, _ := c.proc.Wait()
	c.mu.Unlock()
	c.pidfd.Close()
	c.k.children.Done()
	for _, f := range []*os.File{c.stdout, c.stderr} {
		if f != nil {
			f.SetReadDeadline(time.Unix(1, 0))
		}
	}
	if st != nil {
		if ws, ok := st.Sys().(syscall.WaitStatus); ok {
			return code(ws)
		}
	}
	logf("%s: ended, and how cannot be known", c.describe())
	return -1
}

// print copies what the child prints until its end.
func (c *child) print(out, errs io.Writer) {
	var wg sync.WaitGroup
	if c.stderr != nil {
		wg.Go(func() { drain(c.stderr, errs) })
	}
	drain(c.stdout, out)
	wg.Wait()
}

// close gives up the keeper's ends.
func (c *child) close() {
	closeFiles([]*os.File{c.stdin, c.stdout, c.stderr})
}

// drain copies until the pipe's end. After its read deadline it takes what is
// in the pipe, and no more than a pipe can hold.
func drain(from *os.File, to io.Writer) {
	buf := make([]byte, session.MaxData)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return
		}
	}
	raw, err := from.SyscallConn()
	if err != nil {
		return
	}
	for left := 1 << 20; left > 0; {
		var n int
		raw.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), buf) })
		if n <= 0 {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
		left -= n
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}
