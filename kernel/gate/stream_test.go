package gate_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
)

// reader reads a stream line by line; it ends with the test.
func reader(t *testing.T, url, lastID string) (*bufio.Scanner, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer a")
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return bufio.NewScanner(resp.Body), cancel
}

// until reads lines up to the first that begins with prefix and returns its
// rest.
func until(t *testing.T, s *bufio.Scanner, prefix string) string {
	t.Helper()
	for s.Scan() {
		if rest, ok := strings.CutPrefix(s.Text(), prefix); ok {
			return rest
		}
	}
	t.Fatalf("the stream ended before %q: %v", prefix, s.Err())
	return ""
}

func documentEvent(index uint64, part uint32, name string) sdk.Event {
	return sdk.Event{Index: index, Part: part, Kind: sdk.EventDocumentApplied,
		Document: &sdk.DocumentChange{Ref: sdk.Ref{Kind: "service", Name: name}}}
}

func TestEventsResumeWhereTheyBrokeOff(t *testing.T) {
	k := &kernel{live: make(chan sdk.Event), events: []sdk.Event{
		documentEvent(40, 0, "a"), documentEvent(41, 0, "b"), documentEvent(41, 1, "c"), documentEvent(42, 0, "d")}}
	url := start(t, k, gate.Options{}) + "/v1/events"

	s, cancel := reader(t, url+"?after=40.0", "")
	until(t, s, "event: ")
	if data := until(t, s, "data: "); !strings.Contains(data, `"name":"b"`) {
		t.Fatalf("first after 40.0 is %s", data)
	}
	cancel()

	s, _ = reader(t, url+"?after=40.0", "41.0") // Last-Event-ID wins
	var ids []string
	for len(ids) < 3 {
		ids = append(ids, until(t, s, "id: "))
	}
	if got := strings.Join(ids, " "); got != "41.0 41.1 42.0" {
		t.Errorf("resumed through %s", got)
	}

	if _, body := do(t, "GET", url+"?follow=0&ref=service/c", "a", "", ""); strings.Count(body, `"index"`) != 1 || !strings.Contains(body, `"part":1`) {
		t.Errorf("kept events: %s", body)
	}
}

func TestEventsBeginNowByDefault(t *testing.T) {
	k := &kernel{live: make(chan sdk.Event), events: []sdk.Event{documentEvent(42, 0, "past")}}
	s, _ := reader(t, start(t, k, gate.Options{})+"/v1/events", "")
	k.live <- documentEvent(43, 0, "now")
	until(t, s, "event: ")
	if data := until(t, s, "data: "); !strings.Contains(data, `"index":43`) {
		t.Errorf("first from now is %s", data)
	}
}

// A filter that lets nothing pass must not make the reader resume from long
// ago.
func TestHeartbeatCarriesThePlace(t *testing.T) {
	k := &kernel{live: make(chan sdk.Event)}
	url := start(t, k, gate.Options{Heartbeat: 20 * time.Millisecond})
	s, _ := reader(t, url+"/v1/events?ref=service/other", "")
	k.live <- documentEvent(50, 2, "a")
	for id := until(t, s, "id: "); id != "50.2"; id = until(t, s, "id: ") {
		if id != "42" {
			t.Fatalf("place %q", id)
		}
	}
}

func TestLogsAreSentAsTheyCome(t *testing.T) {
	k := &kernel{logs: make(chan sdk.LogChunk), gone: make(chan struct{})}
	url := start(t, k, gate.Options{})
	s, cancel := reader(t, url+"/v1/tasks/web.1/logs?follow=1", "")
	k.logs <- sdk.LogChunk{Lines: []sdk.LogLine{{Time: 5, Stream: "stdout", Text: []byte("<hi>")}, {Stream: "stderr", Text: []byte{0xff}, Partial: true}}}
	if got := until(t, s, "{"); got != `"task":"web.1","time":5,"stream":"stdout","text":"<hi>"}` {
		t.Error(got)
	}
	if got := until(t, s, "{"); got != `"task":"web.1","time":0,"stream":"stderr","text":"","bytes":"/w==","partial":true}` {
		t.Error(got)
	}
	cancel()
	select {
	case <-k.gone:
	case <-time.After(20 * time.Second):
		t.Fatal("the kernel was not told that the reader went away")
	}
}

func TestLogsThatBreakOffSaySo(t *testing.T) {
	k := &kernel{logs: make(chan sdk.LogChunk, 1)}
	k.logs <- sdk.LogChunk{Error: "node n1 is unreachable"}
	_, body := do(t, "GET", start(t, k, gate.Options{})+"/v1/tasks/web.1/logs", "a", "", "")
	if !strings.Contains(body, `"why":"node n1 is unreachable"`) {
		t.Error(body)
	}
}

func TestStreamsAreBoundedAndEndOnClose(t *testing.T) {
	k := &kernel{live: make(chan sdk.Event)}
	url := start(t, k, gate.Options{Streams: 1})
	s, cancel := reader(t, url+"/v1/events", "")
	until(t, s, "id: ")
	resp, body := do(t, "GET", url+"/v1/events", "a", "", "")
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	cancel()
}
