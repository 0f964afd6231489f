// Package logstore reads the output of a node's tasks for people: the last
// lines, what follows, both streams in the order of time.
package logstore

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// Query says what to read.
type Query struct {
	Stream string // "stdout", "stderr", or "" for both
	Tail   int64  // lines from the end to start with, of both streams together; negative: from the beginning
	Follow bool   // go on as more is written, until Ended says so or Until has passed
	// Since and Until bound the lines by their times, Since included and Until
	// not; 0: unbounded.
	Since, Until sdk.Time
	// Match is a regular expression (RE2) that lines must match, "" for all; of
	// lines that match, Tail are the last. Marks of lost lines always match.
	Match string
	// Sidecar names whose output it is; "": the task's own program's.
	Sidecar string
	// Ended reports that the task writes no more. Nil: it has ended.
	Ended func() bool
}

// poll is how often a followed log is looked at. Being asleep costs nothing,
// looking is one read at the end of a file.
const poll = 100 * time.Millisecond

// late is how long after its time a line may come to lie on the disk.
const late = time.Second

// batch bounds the lines and bytes handed out at once.
const (
	batchLines = 512
	batchBytes = 256 << 10
)

// Read hands out what q asks of the logs in dir, in batches, oldest first. The
// lines are the receiver's to keep. It returns nil at the end. Errors: Invalid for an
// unknown stream and for what is no expression, NotFound when the task has no
// log folder here or no such sidecar, those of send, ctx's.
func Read(ctx context.Context, dir string, q Query, send func([]sdk.LogLine) error) error {
	streams := []string{logfile.Stdout, logfile.Stderr}
	switch q.Stream {
	case "":
	case logfile.Stdout, logfile.Stderr:
		streams = []string{q.Stream}
	default:
		return sdk.Errorf(sdk.Invalid, "logs", "%q is no stream", q.Stream).ToFix("use stdout, stderr, or neither for both")
	}
	re, fault := logfile.Pattern(q.Match)
	if fault != nil {
		return fault
	}
	dir, err := folder(dir, q.Sidecar)
	if err != nil {
		return err
	}
	seek := q.Tail
	if q.Since > 0 || q.Until > 0 || re != nil {
		seek = -1 // which lines are the last depends on what is in them
	}
	open := func() (*merge, error) {
		m := &merge{}
		for _, s := range streams {
			r, err := logfile.Open(dir, s, seek)
			if err != nil {
				m.close()
				return nil, sdk.Errorf(sdk.Unavailable, "logs", "open: %w", err)
			}
			m.in = append(m.in, &input{stream: s, r: r, since: q.Since, until: q.Until, match: re})
		}
		return m, nil
	}
	m, err := open()
	if err != nil {
		return err
	}
	defer m.close()
	if q.Tail > 0 || q.Tail == 0 && seek < 0 {
		count, err := open()
		if err != nil {
			return err
		}
		m.from, err = count.lastOf(q.Tail)
		count.close()
		if err != nil {
			return err
		}
	}
	for {
		// Asked before reading: what was written before the end is read.
		ended := !q.Follow || q.Ended == nil || q.Ended() || q.Until > 0 && sdk.Time(time.Now().Add(-late).UnixMilli()) > q.Until
		if err := m.drain(ctx, ended, send); err != nil {
			return err
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

// merge joins streams by the time of their lines.
type merge struct {
	in   []*input
	from place  // what comes before it is not handed out
	open *input // its line goes on
	pass bool   // that line comes before from
}

func (m *merge) close() {
	for _, in := range m.in {
		in.r.Close()
	}
}

// next returns the oldest line of all inputs, io.EOF when there is none now. A
// line that goes on is followed by its continuation, if that is there. last:
// no more will be written.
func (m *merge) next(last bool) (sdk.LogLine, error) {
	var best *input
	for _, in := range m.in {
		err := in.fill(last)
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return sdk.LogLine{}, sdk.Errorf(sdk.Unavailable, "logs", "read: %w", err)
		}
		if best == nil || in == m.open || best != m.open && in.ready[0].Time < best.ready[0].Time {
			best = in
		}
	}
	if best == nil {
		return sdk.LogLine{}, io.EOF
	}
	line := best.ready[0]
	best.ready = best.ready[1:]
	if m.open = nil; line.Partial {
		m.open = best
	}
	return line, nil
}

// drain hands out what there is now.
func (m *merge) drain(ctx context.Context, last bool, send func([]sdk.LogLine) error) error {
	var lines []sdk.LogLine
	size := 0
	flush := func() error {
		if len(lines) == 0 {
			return nil
		}
		out := lines
		lines, size = nil, 0
		return send(out)
	}
	for ctx.Err() == nil {
		begins := m.open == nil
		line, err := m.next(last)
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return errors.Join(flush(), err)
		}
		if m.from != (place{}) && begins {
			m.pass = m.from.skip(line.Time)
		}
		if m.pass {
			continue
		}
		lines = append(lines, line)
		if size += len(line.Text); len(lines) >= batchLines || size >= batchBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}
