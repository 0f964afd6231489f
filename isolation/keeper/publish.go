package keeper

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// published are the ports of a task with a network of its own as they are on the
// node: every connection there is carried to the same port on loopback in the
// task's network.
type published struct {
	net    *os.File // the task's network namespace
	closed chan struct{}
	wg     sync.WaitGroup

	mu    sync.Mutex
	open  map[io.Closer]bool
	ended bool
}

// The most connections that a published port carries at a time: others wait in
// its queue. And how long the task may take to accept one.
const (
	maxConns    = 4096
	dialPatient = 5 * time.Second
)

// relisten is the time between attempts to get a port back that somebody took
// while no keeper was there.
const relisten = time.Second

// publish listens on the host ports of a task whose first process is pid.
// Errors: one whose reason is that a port is taken.
func publish(id sdk.TaskID, pid int, ports []sdk.PortBinding) (*published, error) {
	if len(ports) == 0 {
		return nil, nil
	}
	p, err := newPublished(pid)
	if err != nil {
		return nil, err
	}
	for _, b := range ports {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(int(b.Port)))
		if err != nil {
			p.close()
			reason := sdk.ReasonStartFailed
			if errors.Is(err, unix.EADDRINUSE) {
				reason = sdk.ReasonPortTaken
			}
			return nil, &isolation.Error{Reason: reason, Err: sdk.Errorf(sdk.Conflict, "task/"+string(id),
				"port %q: host port %d cannot be listened on", b.Name, b.Port).Because("%v", err).
				ToFix("stop the program that has it (ss -ltnp 'sport = :%d' shows it), or leave the port out of the node's pool", b.Port)}
		}
		p.serve(l, b.Port)
	}
	return p, nil
}

// republish listens for a task that another keeper has started. Ports that are
// taken by now are tried again for as long as the task lives.
func republish(id sdk.TaskID, pid int, ports []sdk.PortBinding) *published {
	if len(ports) == 0 {
		return nil
	}
	p, err := newPublished(pid)
	if err != nil {
		logf("%s: its ports: %v", id, err)
		return nil
	}
	for _, b := range ports {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(int(b.Port)))
		if err == nil {
			p.serve(l, b.Port)
			continue
		}
		logf("%s: port %q: %v; it is tried again", id, b.Name, err)
		p.wg.Go(func() { p.regain(b.Port) })
	}
	return p
}

func newPublished(pid int) (*published, error) {
	ns, err := os.Open(pidDir(pid, "ns/net"))
	if err != nil {
		return nil, err
	}
	return &published{net: ns, closed: make(chan struct{}), open: map[io.Closer]bool{}}, nil
}

// regain listens on a port as soon as it is free.
func (p *published) regain(port uint16) {
	tick := time.NewTicker(relisten)
	defer tick.Stop()
	for {
		select {
		case <-p.closed:
			return
		case <-tick.C:
		}
		if l, err := net.Listen("tcp", ":"+strconv.Itoa(int(port))); err == nil {
			p.serve(l, port)
			return
		}
	}
}

// serve carries the connections of one port.
func (p *published) serve(l net.Listener, port uint16) {
	if !p.hold(l) {
		return
	}
	room := make(chan struct{}, maxConns)
	p.wg.Go(func() {
		for {
			room <- struct{}{}
			outer, err := l.Accept()
			if err != nil {
				select {
				case <-p.closed:
					return
				case <-time.After(10 * time.Millisecond): // too many open files, say
				}
				<-room
				continue
			}
			p.wg.Go(func() {
				p.carry(outer.(*net.TCPConn), port)
				<-room
			})
		}
	})
}

// carry joins a connection with one inside, until both directions are at their
// end.
func (p *published) carry(outer *net.TCPConn, port uint16) {
	if !p.hold(outer) {
		return
	}
	defer p.drop(outer)
	inner, err := p.dial(port)
	if err != nil {
		// As the task's own network says it: nobody listens.
		outer.SetLinger(0)
		return
	}
	if !p.hold(inner) {
		return
	}
	defer p.drop(inner)
	var wg sync.WaitGroup
	pour := func(to, from *net.TCPConn) {
		if _, err := io.Copy(to, from); err != nil {
			to.SetLinger(0)
			to.Close()
			from.Close()
			return
		}
		to.CloseWrite()
	}
	wg.Go(func() { pour(inner, outer) })
	wg.Go(func() { pour(outer, inner) })
	wg.Wait()
}

// dial connects to a port in the task's network. A socket belongs to the network
// that its thread is in when it is made.
func (p *published) dial(port uint16) (*net.TCPConn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	c := make(chan result, 1)
	go func() {
		// Never unlocked: the thread is of another network from here on, and ends
		// with the goroutine.
		runtime.LockOSThread()
		if err := unix.Setns(int(p.net.Fd()), unix.CLONE_NEWNET); err != nil {
			c <- result{nil, os.NewSyscallError("setns", err)}
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), dialPatient)
		defer cancel()
		conn, err := new(net.Dialer).DialContext(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(int(port)))
		c <- result{conn, err}
	}()
	r := <-c
	if r.err != nil {
		return nil, r.err
	}
	return r.conn.(*net.TCPConn), nil
}

// hold keeps c to be closed with the rest; false: it is closed already.
func (p *published) hold(c io.Closer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		c.Close()
		return false
	}
	p.open[c] = true
	return true
}

func (p *published) drop(c io.Closer) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
}

// close ends it with all its connections.
func (p *published) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.ended = true
	close(p.closed)
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	p.net.Close()
}
