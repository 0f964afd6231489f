package client

import (
	"bufio"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Watch narrows a stream of events.
type Watch struct {
	// After is where to begin; nil: now. sdk.EndOf(index) of a list goes on
	// where the list ended.
	After *sdk.Position
	Ref   sdk.Ref
	Kind  string // "task.updated", or "task" for all of a noun
}

func (w Watch) values() url.Values {
	v := url.Values{}
	if w.After != nil {
		v.Set("after", w.After.String())
	}
	if !w.Ref.IsZero() {
		v.Set("ref", strings.TrimPrefix(w.Ref.String(), "/"))
	}
	if w.Kind != "" {
		v.Set("kind", w.Kind)
	}
	return v
}

const (
	silence  = 45 * time.Second // three heartbeats of a server; then the connection is dead
	firstTry = 100 * time.Millisecond
	lastTry  = 5 * time.Second
	maxLine  = 16 << 20 // bytes of one line of a stream
)

// RecentEvents returns what the server keeps of past events, oldest first, at
// most the newest 1000.
func (c *Client) RecentEvents(ctx context.Context, w Watch) ([]sdk.Event, uint64, error) {
	v := w.values()
	v.Set("follow", "0")
	return list[sdk.Event](ctx, c, "/v1/events", v)
}

// Events yields events as they are committed, without gap or repetition, until
// ctx is done or the caller stops. Once it has begun, a lost connection is
// opened again, with growing pauses, where it broke off. An error ends it:
// Conflict when the server no longer keeps the events that follow; then list
// anew and watch from there.
func (c *Client) Events(ctx context.Context, w Watch) iter.Seq2[sdk.Event, error] {
	return func(yield func(sdk.Event, error) bool) {
		s := eventStream{c: c, query: w.values()}
		pause := firstTry
		for begun := false; ; {
			opened, more, err := s.run(ctx, func(e sdk.Event) bool { return yield(e, nil) })
			switch {
			case !more:
				return
			case ctx.Err() != nil:
				yield(sdk.Event{}, ctx.Err())
				return
			case err != nil && (!begun || sdk.KindOf(err) != sdk.Unavailable):
				yield(sdk.Event{}, err)
				return
			}
			if begun = true; opened {
				pause = firstTry
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, lastTry)
		}
	}
}

type eventStream struct {
	c     *Client
	query url.Values
	last  string // id seen last
}

// run reads one connection to its end. more is false when the caller wants no
// more events; err is why there was no connection.
func (s *eventStream) run(ctx context.Context, yield func(sdk.Event) bool) (opened, more bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	header := http.Header{}
	if s.last != "" {
		header.Set("Last-Event-ID", s.last)
	}
	resp, err := s.c.send(ctx, "GET", "/v1/events", s.query, "", nil, header)
	if err != nil {
		return false, true, err
	}
	defer resp.Body.Close()
	dead := time.AfterFunc(silence, cancel)
	defer dead.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	id, data := "", ""
	for lines.Scan() {
		dead.Reset(silence)
		line := lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case field == "id":
			id = value
		case field == "data":
			data = value
		case line == "": // the event is whole
			if data != "" {
				var e sdk.Event
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					return true, true, sdk.Errorf(sdk.Internal, s.c.base, "an event is not understood").Because("%v", err).
						ToFix("use a client of the server's version")
				}
				if !yield(e) {
					return true, false, nil
				}
			}
			if id != "" {
				s.last = id
			}
			data = ""
		}
	}
	return true, true, nil
}
