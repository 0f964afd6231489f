package gate

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

func (q *request) listTasks() (any, error) {
	f := TaskFilter{Kind: q.param("kind"), Name: q.param("name"), State: q.param("state")}
	if s := q.param("ref"); s != "" {
		ref := sdk.ParseRef(s)
		f.Kind, f.Name = ref.Kind, ref.Name
	}
	var err error
	if f.Role, err = q.rolePath("role"); err != nil {
		return nil, err
	}
	if f.State != "" && f.State != "live" && f.State != "ended" {
		var s sdk.TaskState
		if err := s.UnmarshalText([]byte(f.State)); err != nil {
			return nil, malformed(sdk.Errorf(sdk.Invalid, "", "%v, live, ended", err).At("state"))
		}
	}
	if s := q.param("node"); s != "" {
		n, err := q.needs.Cluster.Node(s)
		if err != nil {
			return nil, err
		}
		f.Node = n.ID
	}
	l, index := q.needs.Tasks.ListTasks(f)
	sortTasks(l)
	return q.list(orEmpty(l), index)
}

func (q *request) taskID() sdk.TaskID { return sdk.TaskID(q.r.PathValue("id")) }

func (q *request) task() (any, error) { return q.needs.Tasks.Task(q.taskID()) }

func (q *request) killTask() (any, error) {
	var body sdk.KillRequest
	if err := q.json(&body); err != nil {
		return nil, err
	}
	if body.Grace < 0 {
		return nil, sdk.Errorf(sdk.Invalid, string(q.taskID()), "%s is negative", body.Grace).At("grace")
	}
	return struct{}{}, q.needs.Tasks.Kill(q.r.Context(), q.who, q.taskID(), body.Grace)
}

// logs sends a task's output as it comes, one JSON object a line.
func (q *request) logs() (any, error) {
	r := sdk.LogRequest{Task: q.taskID(), Stream: q.param("stream")}
	if r.Stream != "" && r.Stream != "stdout" && r.Stream != "stderr" {
		return nil, malformed(sdk.Errorf(sdk.Invalid, "", "%q is no stream", r.Stream).At("stream").ToFix("use stdout or stderr"))
	}
	var err error
	if r.Tail, err = q.number("tail", -1); err != nil {
		return nil, err
	}
	if r.Follow, err = q.flag("follow", false); err != nil {
		return nil, err
	}
	if r.Since, err = q.time("since"); err != nil {
		return nil, err
	}
	if r.Until, err = q.time("until"); err != nil {
		return nil, err
	}
	r.Match, r.Sidecar = q.param("match"), q.param("sidecar")
	if _, f := logfile.Pattern(r.Match); f != nil {
		return nil, malformed(f)
	}
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	chunks, err := q.needs.Tasks.Logs(ctx, r)
	if err != nil {
		return nil, err
	}
	q.w.Header().Set("Content-Type", "application/x-ndjson")
	out := q.stream()
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	// Who follows is told at once that all is well. Else nothing is sent before
	// the first of the answer, so that a fault can be one of the request.
	begun := r.Follow
	if begun {
		if err := out.flush(); err != nil {
			return answered{}, nil
		}
	}
	fail := func(f *sdk.Fault) (any, error) {
		if f.Subject == "" || f.Subject == "logs" {
			f.Subject = string(r.Task)
		}
		if !begun {
			return nil, f
		}
		enc.Encode(sdk.LogView{Task: r.Task, Fault: f})
		out.flush()
		return answered{}, nil
	}
	for {
		select {
		case <-q.closing:
			return fail(sdk.Errorf(sdk.Unavailable, "", "logs broke off").Because("the server is ending"))
		case <-ctx.Done():
			return answered{}, nil
		case c, ok := <-chunks:
			if !ok {
				return fail(sdk.Errorf(sdk.Unavailable, "", "logs broke off").Because("they came faster than they were read"))
			}
			for _, line := range c.Lines {
				begun = true
				enc.Encode(logView(r.Task, &line))
			}
			if f := logfile.UnpackFault(c.Error); f != nil {
				return fail(f)
			}
			begun = true
			if err := out.flush(); err != nil || c.EOF {
				return answered{}, nil
			}
		}
	}
}

func logView(task sdk.TaskID, l *sdk.LogLine) sdk.LogView {
	v := sdk.LogView{Task: task, Time: l.Time, Stream: l.Stream, Partial: l.Partial, Dropped: l.Dropped}
	if utf8.Valid(l.Text) {
		v.Text = string(l.Text)
	} else {
		v.Bytes = l.Text
	}
	return v
}

// streamWriter gives every write its own deadline, so that a reader who stops
// reading is let go.
type streamWriter struct {
	w        http.ResponseWriter
	rc       *http.ResponseController
	patience time.Duration
}

func (q *request) stream() *streamWriter {
	return &streamWriter{q.w, http.NewResponseController(q.w), q.opts.Patience}
}

// Write passes b on.
func (s *streamWriter) Write(b []byte) (int, error) {
	s.rc.SetWriteDeadline(time.Now().Add(s.patience))
	return s.w.Write(b)
}

func (s *streamWriter) flush() error {
	s.rc.SetWriteDeadline(time.Now().Add(s.patience))
	return s.rc.Flush()
}
