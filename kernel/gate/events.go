package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// maxRecent bounds the answer to follow=0.
const maxRecent = 1000

// maxBurst bounds the bytes of events gathered into one write.
const maxBurst = 256 << 10

// events streams what is committed, in server-sent events, or with follow=0
// answers with what is kept of the past.
//
// Every event carries its place as id. A heartbeat carries the last place seen
// too, so that a reader whose filter lets little pass can still resume where
// the stream is.
func (q *request) events() (any, error) {
	filter := eventFilter{kind: q.param("kind")}
	if s := q.param("ref"); s != "" {
		filter.ref = sdk.ParseRef(s)
	}
	follow, err := q.flag("follow", true)
	if err != nil {
		return nil, err
	}
	after, err := q.after(follow)
	if err != nil {
		return nil, err
	}
	index := q.needs.Events.Index()
	if !follow {
		all := q.needs.Events.Recent(after, maxRecent)
		kept := []sdk.Event{}
		for i := range all {
			if filter.match(&all[i]) {
				kept = append(kept, all[i])
			}
		}
		return q.list(kept, index)
	}
	ctx, cancel := context.WithCancel(q.r.Context())
	defer cancel()
	events, err := q.needs.Events.Subscribe(ctx, after)
	if err != nil {
		return nil, err
	}
	q.w.Header().Set("Content-Type", "text/event-stream")
	q.w.Header().Set(sdk.IndexHeader, strconv.FormatUint(index, 10))
	q.sendEvents(ctx, events, filter, after)
	return answered{}, nil
}

// after reads where the stream shall begin: what a reader saw last wins over
// where it began. Without either a stream begins now, and the past at its
// beginning.
func (q *request) after(follow bool) (sdk.Position, error) {
	s, field := q.r.Header.Get("Last-Event-ID"), "Last-Event-ID"
	if s == "" {
		s, field = q.param("after"), "after"
	}
	if s == "" {
		if follow {
			return sdk.EndOf(q.needs.Events.Index()), nil
		}
		return sdk.Position{}, nil
	}
	p, err := sdk.ParsePosition(s)
	if err != nil {
		return p, malformed(err.(*sdk.Fault).At(field))
	}
	return p, nil
}

func (q *request) sendEvents(ctx context.Context, events <-chan sdk.Event, filter eventFilter, last sdk.Position) {
	out := q.stream()
	beat := time.NewTicker(q.opts.Heartbeat)
	defer beat.Stop()
	fmt.Fprintf(out, "retry: 1000\nid: %s\n\n", last)
	for {
		if err := out.flush(); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-q.closing:
			return
		case <-beat.C:
			fmt.Fprintf(out, ": still here\nid: %s\n\n", last)
		case e, ok := <-events:
			if !ok {
				return
			}
			last = q.writeEvents(out, e, events, filter)
		}
	}
}

// writeEvents writes e and those that wait behind it, so that a burst costs one
// flush, and returns the place after the last.
func (q *request) writeEvents(out *streamWriter, e sdk.Event, events <-chan sdk.Event, filter eventFilter) sdk.Position {
	var b bytes.Buffer
	var last sdk.Position
	for more := true; more; {
		last = sdk.PositionOf(&e)
		if filter.match(&e) {
			data, err := json.Marshal(&e)
			if err != nil {
				q.opts.Log.Error("an event cannot be written", "id", last.String(), "error", err)
			} else {
				fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: %s\n\n", last, e.Kind, data)
			}
		}
		if b.Len() > maxBurst {
			break
		}
		select {
		case e, more = <-events:
		default:
			more = false
		}
	}
	out.Write(b.Bytes())
	return last
}
