// Package runc runs tasks in containers of their own, by runc's libcontainer.
//
// The containers are not children of the agent but of a keeper: one small
// process per state folder that outlives the agent (see isolation/keeper and
// isolation/README.md). This package is the agent's side: it finds the keeper
// of a state folder or starts one, and speaks to it. It needs none of runc's
// own code.
package runc

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
	"github.com/drupe-os/drupe/sdk/wire"
)

// Client is the Runtime of one state folder. It holds no connection between
// calls, so a keeper that was replaced meanwhile is simply the one that
// answers.
type Client struct {
	stateDir string
	info     Info
}

var _ isolation.Runtime = (*Client)(nil)

// Info returns what the keeper said of itself when the client was opened.
func (c *Client) Info() Info { return c.info }

// Create sets a container up. Errors: *isolation.Error with the task's reason.
func (c *Client) Create(ctx context.Context, s *isolation.Spec) error {
	return c.call(ctx, OpCreate, s, nil)
}

// Start executes the container's program.
func (c *Client) Start(ctx context.Context, id sdk.TaskID) error {
	return c.call(ctx, OpStart, Target{ID: id}, nil)
}

// Signal sends a signal to the container's first process, or with all to every
// one. A container that has stopped takes no signals: NotFound.
func (c *Client) Signal(ctx context.Context, id sdk.TaskID, sig int, all bool) error {
	return c.call(ctx, OpSignal, Target{ID: id, Signal: sig, All: all}, nil)
}

// Remove deletes a container that does not run. Errors: Conflict while it runs.
func (c *Client) Remove(ctx context.Context, id sdk.TaskID) error {
	return c.call(ctx, OpRemove, Target{ID: id}, nil)
}

// List returns every container, ordered by id.
func (c *Client) List(ctx context.Context) ([]isolation.Container, error) {
	var list []isolation.Container
	err := c.call(ctx, OpList, nil, &list)
	return list, err
}

// Usage measures running containers. Memory is what their limits count, the
// page cache of their files included.
func (c *Client) Usage(ctx context.Context, ids ...sdk.TaskID) ([]sdk.Usage, error) {
	var list []sdk.Usage
	err := c.call(ctx, OpUsage, Targets{ids}, &list)
	return list, err
}

// Update changes the limits of a container.
func (c *Client) Update(ctx context.Context, id sdk.TaskID, l *isolation.Limits) error {
	return c.call(ctx, OpUpdate, Change{ID: id, Limits: l}, nil)
}

// Open opens a session with a container.
func (c *Client) Open(ctx context.Context, id sdk.TaskID, q *session.Request) (io.ReadWriteCloser, error) {
	conn, err := dial(ctx, c.stateDir)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err = exchange(conn, OpOpen, Session{ID: id, Request: q}, nil)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, lost(ctx, err)
	}
	return conn, nil
}

// Shutdown kills every container, removes all the keeper has made on the
// machine, logs excepted, and ends it. It returns when that is done.
func (c *Client) Shutdown(ctx context.Context) error {
	conn, err := dial(ctx, c.stateDir)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if err := exchange(conn, OpShutdown, nil, nil); err != nil {
		return lost(ctx, err)
	}
	// The connection closes when the keeper is gone itself.
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return lost(ctx, err)
	}
	return nil
}

// Exits delivers the id of each container that stops. The channel closes when
// ctx ends or the keeper does.
func (c *Client) Exits(ctx context.Context) (<-chan sdk.TaskID, error) {
	conn, err := dial(ctx, c.stateDir)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	if err := exchange(conn, OpExits, nil, nil); err != nil {
		stop()
		conn.Close()
		return nil, lost(ctx, err)
	}
	exits := make(chan sdk.TaskID)
	go func() {
		defer close(exits)
		defer conn.Close()
		defer stop()
		var buf []byte
		for {
			_, body, err := wire.Read(conn, &buf)
			var t Target
			if err != nil || Parse(body, &t) != nil {
				return
			}
			select {
			case exits <- t.ID:
			case <-ctx.Done():
				return
			}
		}
	}()
	return exits, nil
}

func (c *Client) call(ctx context.Context, op byte, in, out any) error {
	conn, err := dial(ctx, c.stateDir)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	return lost(ctx, exchange(conn, op, in, out))
}

// exchange sends one request and reads its answer.
func exchange(conn net.Conn, op byte, in, out any) error {
	if err := Send(conn, op, in); err != nil {
		return err
	}
	var buf []byte
	kind, body, err := wire.Read(conn, &buf)
	if err != nil {
		return err
	}
	if kind == Refusal {
		var f Failure
		if err := Parse(body, &f); err != nil {
			return err
		}
		return f.Err()
	}
	return Parse(body, out)
}

// lost makes a broken connection a fault that says so.
func lost(ctx context.Context, err error) error {
	var f *sdk.Fault
	if err == nil || errors.As(err, &f) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil {
		return sdk.Errorf(sdk.Timeout, "keeper", "no answer: %w", cause)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return sdk.Errorf(sdk.Unavailable, "keeper", "went away during a call").ToFix("open the runtime again: containers are kept")
	}
	return sdk.Errorf(sdk.Unavailable, "keeper", "connection: %w", err)
}

func dial(ctx context.Context, stateDir string) (net.Conn, error) {
	var conn net.Conn
	err := WithSocket(stateDir, func(a *net.UnixAddr) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", a.Name)
		return err
	})
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "keeper", "does not answer").Because("%v", rootCause(err)).
			ToFix("open the runtime again: that starts a keeper")
	}
	return conn, nil
}

// rootCause leaves out the address of the socket, which means nothing to
// people.
func rootCause(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
