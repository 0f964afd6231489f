package keeper

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// farewell is how long a session waits, after its last frame, for the client to
// close the connection: closing first could cost the client that frame.
const farewell = 5 * time.Second

// place is where a session is held: one running container.
type place struct {
	t       *task
	box     *program
	id      string // libcontainer's name of it
	pid     int    // of its first process
	program *isolation.Program
	out     *output
}

// place finds the container of a task's own program, or that of a sidecar.
// Errors: NotFound; Conflict before the task is started.
func (k *keeper) place(id sdk.TaskID, sidecar string) (*place, error) {
	t, err := k.task(id)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.exit != nil:
		return nil, gone(id)
	case t.rec.Started == 0:
		return nil, sdk.Errorf(sdk.Conflict, "task/"+string(id), "is not started yet").ToFix("try again when it runs")
	}
	for _, p := range t.programs() {
		if p.spec.Name != sidecar {
			continue
		}
		if p.trace.Exit != nil {
			return nil, gone(id)
		}
		return &place{t: t, box: p, id: p.id, pid: p.trace.PID, program: p.spec, out: p.out}, nil
	}
	return nil, sdk.Errorf(sdk.NotFound, "task/"+string(id), "has no sidecar %q", sidecar)
}

// open answers the request for a session and carries the session.
func (s *server) open(conn *net.UnixConn, body []byte) {
	carry, err := s.prepare(body)
	if err != nil {
		runc.Send(conn, runc.Refusal, runc.NewFailure(err))
		return
	}
	runc.Send(conn, runc.Answer, nil)
	carry(session.Stream(conn))
}

// prepare does what may be refused, and returns what carries the session to its
// end. That has to be called, even when there is nobody left.
func (s *server) prepare(body []byte) (carry func(session.Transport), err error) {
	if !s.busy.TryRLock() {
		return nil, sdk.Errorf(sdk.Unavailable, "keeper", "is ending")
	}
	defer s.busy.RUnlock()
	var q runc.Session
	if err := runc.Parse(body, &q); err != nil {
		return nil, err
	}
	if q.Request == nil {
		return nil, sdk.Errorf(sdk.Invalid, "session", "does not say what it is for")
	}
	p, err := s.k.place(q.ID, q.Request.Sidecar)
	if err != nil {
		return nil, err
	}
	switch q.Request.Op {
	case session.Exec:
		return s.k.exec(p, q.Request)
	case session.Attach:
		return s.k.attach(p)
	case session.Forward:
		return s.k.forward(p, q.Request.Port)
	case session.Get, session.Put:
		return s.k.archive(p, q.Request)
	}
	return nil, sdk.Errorf(sdk.Unsupported, "session", "%.20q is unknown to the keeper", q.Request.Op).
		ToFix("open the runtime again: that replaces an old keeper")
}

// finish sends that there is no more output, and how the session ended.
func (k *keeper) finish(c *session.Conn, r session.Result) {
	if c.Send(session.OutEnd, nil) == nil {
		k.end(c, r)
	}
}

// end sends how the session ended and waits until the client has it.
func (k *keeper) end(c *session.Conn, r session.Result) {
	if c.SendJSON(session.End, r) != nil {
		return
	}
	patience := time.NewTimer(farewell)
	defer patience.Stop()
	select {
	case <-c.Done():
	case <-patience.C:
	case <-k.ending:
	}
}

// fault makes err fit for crossing to a client.
func fault(subject string, err error) *sdk.Fault {
	var f *sdk.Fault
	if !errors.As(err, &f) {
		f = sdk.Errorf(sdk.Internal, subject, "%v", err)
	}
	return f
}

// reasonIs reports whether err carries one of the reasons.
func reasonIs(err error, reasons ...sdk.Reason) bool {
	return slices.Contains(reasons, isolation.ReasonOf(err))
}
