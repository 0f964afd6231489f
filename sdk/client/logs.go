package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/url"
	"strconv"

	"github.com/drupe-os/drupe/sdk"
)

// LogOptions narrow a task's output.
type LogOptions struct {
	Stream string // "stdout" or "stderr"; "" for both
	Tail   int64  // lines from the end to begin with; negative: from the beginning
	Follow bool   // go on until the task ends
	// Since and Until bound the lines by their times, Since included and Until
	// not; 0: unbounded.
	Since, Until sdk.Time
	Match        string // a regular expression (RE2) that lines must match; Tail counts those
	Sidecar      string // whose output; "": the task's own program's
}

// Logs yields the lines of a task's output. An error ends it.
func (c *Client) Logs(ctx context.Context, id sdk.TaskID, o LogOptions) iter.Seq2[sdk.LogView, error] {
	return func(yield func(sdk.LogView, error) bool) {
		q := url.Values{"tail": {strconv.FormatInt(o.Tail, 10)}}
		if o.Stream != "" {
			q.Set("stream", o.Stream)
		}
		if o.Follow {
			q.Set("follow", "1")
		}
		if o.Since > 0 {
			q.Set("since", strconv.FormatInt(int64(o.Since), 10))
		}
		if o.Until > 0 {
			q.Set("until", strconv.FormatInt(int64(o.Until), 10))
		}
		if o.Match != "" {
			q.Set("match", o.Match)
		}
		if o.Sidecar != "" {
			q.Set("sidecar", o.Sidecar)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		resp, err := c.send(ctx, "GET", taskPath(id)+"/logs", q, "", nil, nil)
		if err != nil {
			yield(sdk.LogView{}, err)
			return
		}
		defer resp.Body.Close()
		d := json.NewDecoder(resp.Body)
		for {
			var l sdk.LogView
			err := d.Decode(&l)
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(l, c.unreachable(ctx, err))
				return
			case l.Fault != nil:
				yield(l, l.Fault)
				return
			case !yield(l, nil):
				return
			}
		}
	}
}
