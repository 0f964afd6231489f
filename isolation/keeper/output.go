package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// streams are a task's output streams, in the order of their descriptors.
var streams = [2]string{logfile.Stdout, logfile.Stderr}

// output carries what a task prints from two pipes to its log files.
//
// The task's ends of the pipes are open for reading too. So the pipes do not
// break when the keeper does: the task waits, at worst, until the next keeper
// reads on.
type output struct {
	pipes  [2]*os.File
	inodes [2]uint64
	wg     sync.WaitGroup
	closed chan struct{} // both streams have ended
	watch  audience
}

// newOutput makes the pipes of a new container and returns the task's ends.
func newOutput() (o *output, task [2]*os.File, err error) {
	o = &output{closed: make(chan struct{})}
	defer func() {
		if err != nil {
			o.close()
			closeAll(task)
		}
	}()
	for i := range streams {
		r, w, err := os.Pipe()
		if err != nil {
			return o, task, err
		}
		o.pipes[i] = r
		// By the bare system call: the os package would make it non-blocking,
		// which is no business of the task's.
		fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", w.Fd()), unix.O_RDWR|unix.O_CLOEXEC, 0)
		w.Close()
		if err != nil {
			return o, task, err
		}
		task[i] = os.NewFile(uintptr(fd), streams[i])
		if o.inodes[i], err = inode(fd); err != nil {
			return o, task, err
		}
	}
	return o, task, nil
}

// adoptOutput finds the pipes of a running container among what its processes
// have open. A stream that nobody has open any more is at its end.
func adoptOutput(inodes [2]uint64, pids []int) *output {
	o := &output{inodes: inodes, closed: make(chan struct{})}
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		list, _ := os.ReadDir(dir)
		for _, e := range list {
			link, _ := os.Readlink(filepath.Join(dir, e.Name()))
			for i, want := range inodes {
				if o.pipes[i] != nil || link != "pipe:["+strconv.FormatUint(want, 10)+"]" {
					continue
				}
				fd, err := unix.Open(filepath.Join(dir, e.Name()), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				if err != nil {
					continue
				}
				if n, err := inode(fd); err != nil || n != want {
					unix.Close(fd)
					continue
				}
				o.pipes[i] = os.NewFile(uintptr(fd), streams[i])
			}
		}
	}
	return o
}

// start begins to write the logs.
func (o *output) start(s *isolation.Spec, p *program) {
	dir := p.logDir(s)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		logf("%s: log folder: %v", p.id, err)
	}
	for i := range o.pipes {
		if o.pipes[i] == nil {
			continue
		}
		o.wg.Add(1)
		go func() {
			defer o.wg.Done()
			o.pump(i, logfile.NewWriter(dir, streams[i], s.Logs, now), p.id+" "+streams[i])
		}()
	}
	go func() {
		o.wg.Wait()
		close(o.closed)
	}()
}

// pump writes what comes from one of the pipes to its log, and shows it to who
// is watching.
func (o *output) pump(stream int, w *logfile.Writer, what string) {
	pipe := o.pipes[stream]
	defer pipe.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := pipe.Read(buf)
		w.Write(buf[:n])
		o.watch.show(stream, buf[:n])
		switch {
		case err == nil:
			continue
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = w.Suspend()
		default:
			err = w.Close()
		}
		if err != nil {
			logf("%s: %v", what, err)
		}
		return
	}
}

// drained waits until all that the task printed is written. Its end of a pipe
// can have been given to a process outside; then it does not wait for ever.
func (o *output) drained() {
	select {
	case <-o.closed:
	case <-time.After(2 * time.Second):
		o.suspend()
	}
}

// suspend stops writing, so that the next keeper can go on.
func (o *output) suspend() {
	for _, p := range o.pipes {
		if p != nil {
			p.SetReadDeadline(time.Unix(1, 0))
		}
	}
	<-o.closed
}

// close gives up pipes that were never started.
func (o *output) close() { closeAll(o.pipes) }

func closeAll(files [2]*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
}

func inode(fd int) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}
