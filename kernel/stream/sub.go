package stream

import (
	"context"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// maxRead is how many events one Next returns at most.
const maxRead = 256

// Sub is one watcher's place in a Stream. It needs no closing. It is not safe
// for concurrent use.
type Sub struct {
	stream *Stream
	filter Filter
	at     *batch
	i      int // the next event in at
	seen   sdk.Position
}

// Next waits for events that pass the filter and returns them in order, at most
// 256. They are shared with other watchers and must not be changed. Errors:
// Conflict when the watcher was overtaken, and ctx's when it is done.
func (s *Sub) Next(ctx context.Context) ([]sdk.Event, error) {
	for {
		if out := s.read(); len(out) > 0 {
			return out, nil
		}
		if s.i < len(s.at.events) {
			continue
		}
		next := s.at.next.Load()
		if next == nil {
			select {
			case <-s.at.ready:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if next = s.at.next.Load(); next == nil {
				return nil, s.stream.tooOld()
			}
		}
		s.at, s.i = next, 0
	}
}

// read takes what passes the filter out of the present batch.
func (s *Sub) read() (out []sdk.Event) {
	for ; s.i < len(s.at.events) && len(out) < maxRead; s.i++ {
		e := &s.at.events[s.i]
		p := sdk.PositionOf(e)
		if !s.seen.Before(p) {
			continue // the place asked for is yet to come
		}
		s.seen = p
		if s.filter.Match(e) {
			out = append(out, *e)
		}
	}
	return out
}

// Position returns the place up to which was read, filtered events included.
// Subscribing there goes on without gap.
func (s *Sub) Position() sdk.Position { return s.seen }

// Channel reads a subscription into a channel, which closes when ctx is done or
// the reader was overtaken. Errors: those of Subscribe.
func (s *Stream) Channel(ctx context.Context, after sdk.Position, f Filter) (<-chan sdk.Event, error) {
	sub, err := s.Subscribe(after, f)
	if err != nil {
		return nil, err
	}
	out := make(chan sdk.Event, 16)
	go func() {
		defer close(out)
		for {
			events, err := sub.Next(ctx)
			if err != nil {
				return
			}
			for i := range events {
				select {
				case out <- events[i]:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out, nil
}

// Filter narrows a stream. Every field that is set must match; the zero Filter
// passes everything.
type Filter struct {
	// Ref is a document; an empty Kind is any kind.
	Ref sdk.Ref
	// Kind is a kind of event, or its first word: "task" is all about tasks.
	Kind string
	Task sdk.TaskID
}

// Match reports whether an event passes.
func (f Filter) Match(e *sdk.Event) bool {
	if f.Kind != "" {
		rest, ok := strings.CutPrefix(string(e.Kind), f.Kind)
		if !ok || rest != "" && rest[0] != '.' {
			return false
		}
	}
	if f.Task != "" && (e.Task == nil || e.Task.ID != f.Task) {
		return false
	}
	if f.Ref.IsZero() {
		return true
	}
	about := e.About()
	return about.Name == f.Ref.Name && (f.Ref.Kind == "" || f.Ref.Kind == about.Kind)
}
