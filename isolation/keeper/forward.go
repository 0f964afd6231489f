package keeper

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// connectTime is how long a connection within one machine may take.
const connectTime = 5 * time.Second

// forward connects to a port on which the container listens.
func (k *keeper) forward(p *place, port uint16) (func(session.Transport), error) {
	conn, err := p.connect(port)
	if err != nil {
		return nil, err
	}
	return func(t session.Transport) {
		c := session.New(t, nil)
		defer c.Close()
		defer conn.Close()
		c.Send(session.Started, nil)
		var both sync.WaitGroup
		both.Go(func() {
			io.CopyBuffer(struct{ io.Writer }{c.Writer(session.Out)}, struct{ io.Reader }{conn}, make([]byte, session.MaxData))
			c.Send(session.OutEnd, nil)
		})
		both.Go(func() { pour(c, conn) })
		done := make(chan struct{})
		go func() {
			defer close(done)
			both.Wait()
		}()
		select {
		case <-done:
		case <-c.Done():
		case <-k.ending:
		}
		k.end(c, session.Result{})
		c.Close()
		conn.Close()
		<-done
	}, nil
}

// pour writes what the client sends into the connection, until it sends no more.
func pour(c *session.Conn, conn *net.TCPConn) {
	for {
		kind, body, err := c.Receive()
		switch {
		case err != nil:
			conn.Close()
			return
		case kind == session.InEnd:
			conn.CloseWrite()
			return
		case kind == session.In:
			if _, err := conn.Write(body); err != nil {
				// The other direction may still have something to say.
				conn.CloseWrite()
			}
		}
	}
}

// connect dials the port in the network that the container is in. Where that
// is the node's own, it has to be the container who listens: everything else on
// the node is none of the client's business.
func (p *place) connect(port uint16) (*net.TCPConn, error) {
	subject := fmt.Sprintf("task/%s", p.t.id)
	if port == 0 {
		return nil, sdk.Errorf(sdk.Invalid, subject, "there is no port 0")
	}
	shared, err := sharesNetwork(p.pid)
	if err != nil {
		return nil, gone(p.t.id)
	}
	closed := sdk.Errorf(sdk.Unavailable, subject, "nobody listens on port %d", port).
		ToFix("see that its program listens on 127.0.0.1 or on all addresses")
	if shared && !p.listens(port) {
		return nil, closed
	}
	for _, host := range []string{"127.0.0.1", "::1"} {
		var conn net.Conn
		if conn, err = dialIn(p.pid, shared, net.JoinHostPort(host, strconv.Itoa(int(port)))); err == nil {
			return conn.(*net.TCPConn), nil
		}
	}
	return nil, closed.Because("%v", err)
}

func sharesNetwork(pid int) (bool, error) {
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return false, err
	}
	theirs, err := os.Readlink(pidDir(pid, "ns/net"))
	return own == theirs, err
}

// dialIn dials from within the network of a process.
func dialIn(pid int, shared bool, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: connectTime}
	if shared {
		return dialer.Dial("tcp", address)
	}
	ns, err := os.Open(pidDir(pid, "ns/net"))
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var conn net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with this function and takes the
		// foreign network with it.
		runtime.LockOSThread()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			// A numeric address is dialled by the calling thread itself.
			conn, err = dialer.Dial("tcp", address)
		}
	}()
	<-done
	return conn, err
}

// listens reports whether a process of the container listens on the port.
func (p *place) listens(port uint16) bool {
	inodes := map[string]bool{}
	for _, table := range []string{"net/tcp", "net/tcp6"} {
		listeners(pidDir(p.pid, table), port, inodes)
	}
	if len(inodes) == 0 {
		return false
	}
	pids, err := p.box.ctr.Processes()
	if err != nil {
		return false
	}
	for _, pid := range pids {
		dir := pidDir(pid, "fd")
		list, _ := os.ReadDir(dir)
		for _, e := range list {
			if link, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && inodes[link] {
				return true
			}
		}
	}
	return false
}

// listeners adds the sockets of a table of the kernel's that listen on the
// port, as /proc/PID/fd shows them.
func listeners(table string, port uint16, into map[string]bool) {
	const listening = "0A"
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close()
	suffix := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[3] == listening && strings.HasSuffix(fields[1], suffix) {
			into["socket:["+fields[9]+"]"] = true
		}
	}
}
