package keeper

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// What a shell says of a program that may not be executed, or is not there.
const (
	codeDenied   = 126
	codeNotFound = 127
)

// exec runs a program in the container, as the container's own runs: the same
// user, limits, system calls and capabilities, but for what the request says.
func (k *keeper) exec(p *place, q *session.Request) (func(session.Transport), error) {
	proc, err := p.process(q)
	if err != nil {
		return nil, err
	}
	c, err := k.spawn(p, proc, stdio{tty: q.TTY, input: q.Input})
	if reasonIs(err, sdk.ReasonCommandNotFound, sdk.ReasonCommandDenied) {
		r := session.Result{Code: codeNotFound, Error: fault("task/"+string(p.t.id), err)}
		if reasonIs(err, sdk.ReasonCommandDenied) {
			r.Code = codeDenied
		}
		return func(t session.Transport) {
			conn := session.New(t, nil)
			defer conn.Close()
			k.finish(conn, r)
		}, nil
	}
	if err != nil {
		return nil, err
	}
	return func(t session.Transport) {
		conn := session.New(t, c.urgent)
		defer conn.Close()
		k.finish(conn, session.Result{Code: c.converse(conn, k.ending, conn.Writer(session.Err))})
	}, nil
}

// process says what is to be executed.
func (p *place) process(q *session.Request) (*libcontainer.Process, error) {
	subject := "task/" + string(p.t.id)
	if len(q.Command) == 0 || q.Command[0] == "" {
		return nil, sdk.Errorf(sdk.Invalid, subject, "there is no command to execute").ToFix("name a program, as in: -- /bin/sh")
	}
	proc := &libcontainer.Process{
		Args: q.Command, Env: slices.Concat(p.program.Env, q.Env), Cwd: q.WorkDir,
		ConsoleHeight: q.Size.Rows, ConsoleWidth: q.Size.Columns,
	}
	if proc.Cwd == "" {
		proc.Cwd = p.program.WorkDir
	}
	if proc.Cwd == "" {
		proc.Cwd = "/"
	}
	if proc.Cwd[0] != '/' {
		return nil, sdk.Errorf(sdk.Invalid, subject, "working folder %.80q is not an absolute path", proc.Cwd)
	}
	for _, env := range q.Env {
		if strings.IndexByte(env, '=') <= 0 {
			return nil, sdk.Errorf(sdk.Invalid, subject, "%.40q is not NAME=value", env).At("env")
		}
	}
	for _, list := range [][]string{q.Command, q.Env, {q.WorkDir, q.User}} {
		for _, text := range list {
			if strings.IndexByte(text, 0) >= 0 {
				return nil, sdk.Errorf(sdk.Invalid, subject, "%.40q holds a zero byte", text)
			}
		}
	}
	name := q.User
	if name == "" {
		name = p.program.User
	}
	return proc, p.asUser(proc, name)
}

// asUser makes proc a user's, as the container sees its files now, whatever
// links it may have made.
func (p *place) asUser(proc *libcontainer.Process, name string) error {
	user, err := resolveUser(p.t.id, name, pidDir(p.pid, "root"))
	if err != nil {
		return err
	}
	proc.UID, proc.GID = int(user.UID), int(user.GID)
	for _, g := range user.Groups {
		proc.AdditionalGroups = append(proc.AdditionalGroups, int(g))
	}
	return nil
}

// urgent resizes the terminal and passes signals on.
func (c *child) urgent(kind byte, body []byte) {
	switch {
	case kind == session.Signal && len(body) == 1:
		c.signal(unix.Signal(body[0]))
	case kind == session.Resize && c.terminal != nil:
		var s session.Size
		if json.Unmarshal(body, &s) == nil {
			c.resize(s)
		}
	}
}

// converse carries what the program reads and prints, stderr to errs, and
// returns its exit code. A program whose client has gone is killed.
func (c *child) converse(conn *session.Conn, ending <-chan struct{}, errs io.Writer) int32 {
	conn.Send(session.Started, nil)
	go c.feed(conn)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		c.print(conn.Writer(session.Out), errs)
	}()
	select {
	case <-c.ended:
	case <-conn.Done():
		c.kill()
	case <-ending:
		c.kill()
	}
	code := c.wait()
	<-sent
	c.close()
	return code
}

// feed writes what the client sends to the program.
func (c *child) feed(conn *session.Conn) {
	for {
		kind, body, err := conn.Receive()
		if err != nil {
			return
		}
		switch kind {
		case session.In:
			if _, err := c.stdin.Write(body); err != nil && c.terminal == nil {
				// It reads no more; what else comes has no place to go.
				c.stdin.Close()
			}
		case session.InEnd:
			if c.terminal != nil {
				c.terminal.Write([]byte{4}) // as if ^D were typed
			} else {
				c.stdin.Close()
			}
		}
	}
}

// describe names the child in the log.
func (c *child) describe() string { return fmt.Sprintf("%s: process %d of a session", c.task, c.pid) }
