package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// maxSessions bounds how many sessions with tasks a node carries at a time.
const maxSessions = 64

// opening is how long a session may take from being asked for to being joined;
// the server waits no longer.
const opening = 10 * time.Second

// relay opens a session with a task and carries it, on a connection of its own
// to the server that asked, until either side closes or ctx, the life of the
// node, ends.
func (c *Client) relay(ctx context.Context, addr string, q sdk.SessionRequest) {
	hello := &sdk.SessionHello{Key: q.Key}
	octx, cancel := context.WithTimeout(ctx, opening)
	defer cancel()
	task, err := c.openTask(octx, q)
	if err == nil {
		defer c.sessions.Add(-1)
		defer task.Close()
	} else {
		hello.Error = faultJSON(err)
	}
	conn, err := c.dial(octx, addr)
	if err != nil {
		c.cfg.Log.Warn("a session with a task could not be joined", "server", addr, "task", string(q.Task), "error", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetWriteDeadline(time.Now().Add(opening))
	if err := wire.Write(conn, wire.FrameSession, hello); err != nil {
		return
	}
	conn.SetWriteDeadline(time.Time{})
	if task == nil {
		// The server hangs up when it has read why. Closing before could destroy
		// what it has not read.
		conn.SetReadDeadline(time.Now().Add(opening))
		io.Copy(io.Discard, conn)
		return
	}
	join(conn, task)
}

// openTask opens the task's side, and counts the session if it could.
func (c *Client) openTask(ctx context.Context, q sdk.SessionRequest) (io.ReadWriteCloser, error) {
	if c.sessions.Add(1) > maxSessions {
		c.sessions.Add(-1)
		return nil, sdk.Errorf(sdk.Exhausted, "task/"+string(q.Task), "its node carries as many sessions as it may").
			Because("the bound is %d", maxSessions).ToFix("end one of them and try again")
	}
	task, err := c.cfg.Open(ctx, q)
	if err != nil {
		c.sessions.Add(-1)
		return nil, err
	}
	return task, nil
}

// join copies both ways until either side closes, and closes the other.
func join(conn net.Conn, task io.ReadWriteCloser) {
	var wg sync.WaitGroup
	carry := func(to io.WriteCloser, from io.ReadCloser) {
		// Why it ended matters to nobody here: both sides see the end.
		_, _ = io.Copy(to, from)
		to.Close()
		from.Close()
	}
	wg.Go(func() { carry(task, conn) })
	carry(conn, task)
	wg.Wait()
}

// faultJSON is err as the other side reads it.
func faultJSON(err error) string {
	var f *sdk.Fault
	switch {
	case errors.As(err, &f):
	case errors.Is(err, context.DeadlineExceeded):
		f = sdk.Errorf(sdk.Timeout, "session", "its task did not answer in time")
	default:
		f = sdk.Errorf(sdk.Unavailable, "session", "%v", err)
	}
	b, _ := json.Marshal(f) // cannot fail: a fault is nothing but text
	return string(b)
}
