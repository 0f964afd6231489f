// Package logstore reads the output of a node's tasks for people: the last
// lines, what follows, both streams in the order of time.
package logstore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// Query says what to read.
type Query struct {
	Stream string // "stdout", "stderr", or "" for both
	Tail   int64  // lines from the end to start with, of both streams together; negative: from the beginning
	Follow bool   // go on as more is written, until Ended says so
	// Ended reports that the task writes no more. Nil: it has ended.
	Ended func() bool
}

// poll is how often a followed log is looked at. Being asleep costs nothing,
// looking is one read at the end of a file.
const poll = 100 * time.Millisecond

// batch bounds the lines and bytes handed out at once.
const (
	batchLines = 512
	batchBytes = 256 << 10
)

// Read hands out what q asks of the logs in dir, in batches, oldest first. The
// lines are the receiver's to keep. It returns nil at the end. Errors: Invalid for an
// unknown stream, NotFound when the task has no log folder here, those of
// send, ctx's.
func Read(ctx context.Context, dir string, q Query, send func([]sdk.LogLine) error) error {
	streams := []string{logfile.Stdout, logfile.Stderr}
	switch q.Stream {
	case "":
	case logfile.Stdout, logfile.Stderr:
		streams = []string{q.Stream}
	default:
		return sdk.Errorf(sdk.Invalid, "logs", "%q is no stream", q.Stream).ToFix("use stdout, stderr, or neither for both")
	}
	if _, err := os.Stat(dir); err != nil {
		return sdk.Errorf(sdk.NotFound, "logs", "there are none of task %s on this node", filepath.Base(filepath.Dir(dir))).
			Because("it never started here, or its logs were cleared away after it ended")
	}
	m := &merge{}
	defer m.close()
	for _, s := range streams {
		r, err := logfile.Open(dir, s, q.Tail)
		if err != nil {
			return sdk.Errorf(sdk.Unavailable, "logs", "open: %w", err)
		}
		m.in = append(m.in, &input{stream: s, r: r})
	}
	skip, err := m.surplus(dir, streams, q.Tail)
	if err != nil {
		return err
	}
	for {
		// Asked before reading: what was written before the end is read.
		ended := !q.Follow || q.Ended == nil || q.Ended()
		if err := m.drain(ctx, &skip, send); err != nil {
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
type merge struct{ in []*input }

// input is one stream and its next line, if one was read.
type input struct {
	stream string
	r      *logfile.Reader
	line   sdk.LogLine
	has    bool
}

func (m *merge) close() {
	for _, in := range m.in {
		in.r.Close()
	}
}

// next returns the oldest line of all inputs, io.EOF when there is none now. A
// line that goes on is followed by its continuation.
func (m *merge) next() (sdk.LogLine, error) {
	var best *input
	for _, in := range m.in {
		if !in.has {
			rec, err := in.r.Next()
			if errors.Is(err, io.EOF) {
				continue
			}
			if err != nil {
				return sdk.LogLine{}, sdk.Errorf(sdk.Unavailable, "logs", "read: %w", err)
			}
			in.line, in.has = rec.Line(in.stream), true
		}
		if best == nil || in.line.Time < best.line.Time {
			best = in
		}
	}
	if best == nil {
		return sdk.LogLine{}, io.EOF
	}
	best.has = false
	return best.line, nil
}

// surplus counts how many lines of the tails of several streams come before
// the last tail lines of all.
func (m *merge) surplus(dir string, streams []string, tail int64) (int64, error) {
	if tail < 0 || len(streams) < 2 {
		return 0, nil
	}
	count := &merge{}
	defer count.close()
	for _, s := range streams {
		r, err := logfile.Open(dir, s, tail)
		if err != nil {
			return 0, sdk.Errorf(sdk.Unavailable, "logs", "open: %w", err)
		}
		count.in = append(count.in, &input{stream: s, r: r})
	}
	total := int64(0)
	for {
		line, err := count.next()
		if errors.Is(err, io.EOF) {
			return max(total-tail, 0), nil
		}
		if err != nil {
			return 0, err
		}
		if !line.Partial {
			total++
		}
	}
}

// drain hands out what there is now, but for the first skip lines.
func (m *merge) drain(ctx context.Context, skip *int64, send func([]sdk.LogLine) error) error {
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
		line, err := m.next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return errors.Join(flush(), err)
		}
		if *skip > 0 {
			if !line.Partial {
				*skip--
			}
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
