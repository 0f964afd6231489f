package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

func (a *app) portForward() *cobra.Command {
	sidecar := ""
	c := &cobra.Command{Use: "port-forward NAME|TASK [LOCAL:]PORT...", Short: "reach a task's ports on this machine",
		Long: "Listens on 127.0.0.1 and carries each connection to a port of a task, or of one of the\n" +
			"running tasks of a service or job, until Ctrl-C. PORT is a number, or a port's name in\n" +
			"the document. LOCAL is the port to listen on, 0 any free one; without it a number stands\n" +
			"for itself, and a name for any free port. A connection that is refused is told of and\n" +
			"ends nothing.",
		Example: "  drupe port-forward hello 8080:http\n  drupe port-forward hello.4f http 9000:9090\n" +
			"  drupe port-forward redis 0:6379 -o json",
		Args: want(2, -1, "NAME or PORT"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.place(c.Context(), args[0])
			if err != nil {
				return err
			}
			f := &forwarder{place: p, sidecar: sidecar}
			defer f.close()
			for _, arg := range args[1:] {
				local, port, err := f.parse(c, arg)
				if err != nil {
					return err
				}
				if err := f.listen(arg, local, port); err != nil {
					return err
				}
			}
			return f.run(c.Context())
		}}
	c.Flags().StringVar(&sidecar, "sidecar", "", "the `name` of the sidecar that listens")
	return c
}

// forwarder carries connections to ports of a task.
type forwarder struct {
	*place
	sidecar string
	bound   []boundPort
	named   []sdk.PortBinding // of the task, once it was asked for
}

// boundPort is a port listened on, as -o json has it.
type boundPort struct {
	Local string     `json:"local"` // address
	Task  sdk.TaskID `json:"task"`
	Port  uint16     `json:"port"` // of the task

	listener net.Listener
}

// parse reads [LOCAL:]PORT.
func (f *forwarder) parse(c *cobra.Command, arg string) (local, port uint16, err error) {
	before, of, both := strings.Cut(arg, ":")
	if !both {
		before, of = "", before
	}
	n, err := strconv.ParseUint(of, 10, 16)
	switch {
	case err == nil && n == 0:
		return 0, 0, usagef(c, "%s: there is no port 0 to reach", arg)
	case err == nil:
		port, local = uint16(n), uint16(n)
	case of != "" && strings.Trim(of, "0123456789") == "":
		return 0, 0, usagef(c, "%s: %s is no port: use 1 to 65535", arg, of)
	default:
		if port, err = f.namedPort(c, of); err != nil {
			return 0, 0, err
		}
	}
	if both {
		n, err := strconv.ParseUint(before, 10, 16)
		if err != nil {
			return 0, 0, usagef(c, "%s: %q is no port: use 0 to 65535", arg, before)
		}
		local = uint16(n)
	}
	return local, port, nil
}

// namedPort finds a port by its name in the document.
func (f *forwarder) namedPort(c *cobra.Command, name string) (uint16, error) {
	if f.named == nil {
		t, err := f.c.Task(c.Context(), f.task)
		if err != nil {
			return 0, err
		}
		f.named = append([]sdk.PortBinding{}, t.Ports...)
	}
	names := []string{"none"}
	for i, b := range f.named {
		if b.Name == name {
			return b.Port, nil
		}
		names = append(names[:i], b.Name)
	}
	return 0, sdk.Errorf(sdk.NotFound, "task/"+string(f.task), "has no port %q", name).
		Because("its ports are: %s", strings.Join(names, ", ")).ToFix("use one of them, or a number")
}

// listen begins to listen; connections wait until run.
func (f *forwarder) listen(arg string, local, port uint16) error {
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(local))))
	if err != nil {
		_, of, _ := strings.Cut(":"+arg, ":")
		return sdk.Errorf(sdk.Conflict, fmt.Sprintf("port %d", local), "cannot be listened on").
			Because("%v", errors.Unwrap(err)).ToFix("use any free one: 0:%s", of)
	}
	f.bound = append(f.bound, boundPort{l.Addr().String(), f.task, port, l})
	return nil
}

func (f *forwarder) close() {
	for _, b := range f.bound {
		b.listener.Close()
	}
}

// run says what is listened on and carries connections until ctx is done.
func (f *forwarder) run(ctx context.Context) error {
	for i := range f.bound {
		b := &f.bound[i]
		if f.json() {
			if err := writeJSONLine(f.out, b); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(f.out, "%s -> %s port %d\n", b.Local, b.Task, b.Port)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, f.close)()
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var failed error
	var once sync.Once
	for i := range f.bound {
		b := &f.bound[i]
		all.Go(func() {
			for {
				conn, err := b.listener.Accept()
				if err != nil {
					if ctx.Err() == nil {
						once.Do(func() { failed = sdk.Errorf(sdk.Internal, b.Local, "listens no more").Because("%v", err) })
						cancel()
					}
					return
				}
				all.Go(func() {
					if err := f.carry(ctx, conn.(*net.TCPConn), b.Port); err != nil && ctx.Err() == nil {
						f.progress("a connection to port %d: %v", b.Port, err)
					}
				})
			}
		})
	}
	<-ctx.Done()
	all.Wait()
	return failed
}

// carry carries one connection until both sides are done with it.
func (f *forwarder) carry(ctx context.Context, local *net.TCPConn, port uint16) error {
	// One that could not be carried is reset, not ended as if all were said.
	local.SetLinger(0)
	defer local.Close()
	conn, err := f.open(ctx, &session.Request{Op: session.Forward, Sidecar: f.sidecar, Port: port, Input: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	sent := make(chan error, 1)
	go func() { sent <- send(conn, local) }()
	err = receive(conn, local)
	conn.Close()
	local.Close()
	if left := <-sent; left != nil {
		return nil // who connected has gone: nobody misses anything
	}
	return err
}

// send sends what local says, to its end. When local is gone without one, that
// ends the session and is an error.
func send(conn *session.Conn, local *net.TCPConn) error {
	b := make([]byte, session.MaxData)
	for {
		n, err := local.Read(b)
		if conn.Send(session.In, b[:n]) != nil {
			return nil
		}
		switch {
		case err == nil:
		case err == io.EOF:
			conn.Send(session.InEnd, nil)
			return nil
		case errors.Is(err, net.ErrClosed):
			return nil // receive has ended
		default:
			conn.Close()
			return err
		}
	}
}

// receive lets local have what comes, to its end.
func receive(conn *session.Conn, local *net.TCPConn) error {
	for {
		kind, body, err := conn.Receive()
		if err != nil {
			return sdk.Errorf(sdk.Unavailable, "session", "the connection was lost: %w", err)
		}
		switch kind {
		case session.Out:
			if _, err := local.Write(body); err != nil {
				return nil // who connected wants no more
			}
		case session.OutEnd:
			local.CloseWrite()
		case session.End:
			var r session.Result
			if err := json.Unmarshal(body, &r); err != nil {
				return sdk.Errorf(sdk.Corrupt, "session", "its end is malformed: %v", err)
			}
			if r.Error != nil {
				return r.Error
			}
			local.SetLinger(-1)
			return nil
		}
	}
}
