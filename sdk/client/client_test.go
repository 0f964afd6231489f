package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// serve answers with h over plain HTTP and returns a client of it.
func serve(t *testing.T, h http.HandlerFunc) (*Client, context.Context) {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL, "", "secret")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return c, ctx
}

func problem(w http.ResponseWriter, status int, code sdk.FaultKind) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"code":%q,"detail":"planted","why":"w","fix":"f"}`, status, code)
}

// The server drops every connection after one event and answers with an error
// in between. The reader must see each event once.
func TestEventsGoOnAfterLostConnections(t *testing.T) {
	var asked []string
	c, ctx := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery+" "+r.Header.Get("Last-Event-ID"))
		switch len(asked) {
		case 1:
			fmt.Fprint(w, "retry: 1000\nid: 4\n\nid: 5.0\nevent: x\ndata: {\"index\":5}\n\nid: 5.1\nevent: x\nda")
		case 2:
			problem(w, 503, sdk.Unavailable)
		case 3:
			fmt.Fprint(w, ": still here\nid: 7.2\n\n")
		case 4:
			fmt.Fprint(w, "id: 8.0\nevent: x\ndata: {\"index\":8}\n\n")
		default:
			problem(w, 409, sdk.Conflict)
		}
	})
	after := sdk.EndOf(4)
	var got []uint64
	var last error
	for e, err := range c.Events(ctx, Watch{After: &after, Kind: "x"}) {
		if last = err; err == nil {
			got = append(got, e.Index)
		}
	}
	if fmt.Sprint(got) != "[5 8]" || sdk.KindOf(last) != sdk.Conflict {
		t.Errorf("events %v, end %v", got, last)
	}
	want := "after=4&kind=x |after=4&kind=x 5.0|after=4&kind=x 5.0|after=4&kind=x 7.2|after=4&kind=x 8.0"
	if s := strings.Join(asked, "|"); s != want {
		t.Errorf("asked for\n%s\nwant\n%s", s, want)
	}
}

// A cluster that is not there is told at once, not tried for ever.
func TestEventsThatNeverBeginEndAtOnce(t *testing.T) {
	c, ctx := serve(t, func(w http.ResponseWriter, r *http.Request) { problem(w, 503, sdk.Unavailable) })
	for _, err := range c.Events(ctx, Watch{}) {
		if sdk.KindOf(err) != sdk.Unavailable {
			t.Error(err)
		}
	}
	if ctx.Err() != nil {
		t.Error("went on until the time ran out")
	}
}

func TestEventsEndWithTheCaller(t *testing.T) {
	c, ctx := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "id: 5.0\ndata: {\"index\":5}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last error
	for _, err := range c.Events(ctx, Watch{}) {
		last = err
		cancel()
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("ended with %v", last)
	}
}

func TestErrorsAreFaults(t *testing.T) {
	answers := map[string]func(http.ResponseWriter){
		"problem": func(w http.ResponseWriter) { problem(w, 403, sdk.Denied) },
		"other":   func(w http.ResponseWriter) { http.Error(w, "nginx", 502) },
		"html":    func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
	}
	c, ctx := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			t.Error("no token was sent")
		}
		answers[strings.TrimPrefix(r.URL.Path, "/v1/nodes/")](w)
	})
	for name, want := range map[string]sdk.FaultKind{"problem": sdk.Denied, "other": sdk.Internal, "html": sdk.Internal} {
		if _, err := c.Node(ctx, name); sdk.KindOf(err) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	var f *sdk.Fault
	if _, err := c.Node(ctx, "problem"); !errors.As(err, &f) || f.Why != "w" || f.Fix != "f" {
		t.Errorf("%+v", f)
	}

	gone, err := New("http://127.0.0.1:1", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Policy(ctx); sdk.KindOf(err) != sdk.Unavailable {
		t.Errorf("%v", err)
	}
	for _, address := range []string{"", "ftp://x", "https://", "http://a b"} {
		if _, err := New(address, "", ""); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestLogsThatBreakOff(t *testing.T) {
	c, ctx := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"task":"a.1","text":"x"}`)
		fmt.Fprintln(w, `{"task":"a.1","fault":{"kind":"unavailable","message":"broke off"}}`)
	})
	n := 0
	var last error
	for _, err := range c.Logs(ctx, "a.1", LogOptions{Tail: -1, Follow: true}) {
		n, last = n+1, err
	}
	if n != 2 || sdk.KindOf(last) != sdk.Unavailable {
		t.Errorf("%d lines, end %v", n, last)
	}
}

// Names with a slash are one segment of a path.
func TestPathsAreEscaped(t *testing.T) {
	var paths []string
	c, ctx := serve(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.EscapedPath())
		fmt.Fprint(w, "{}")
	})
	c.Document(ctx, sdk.Ref{Kind: "role", Name: "eng/web"})
	c.Role(ctx, "eng/web")
	c.Role(ctx, "")
	c.Task(ctx, "a.1/../b")
	if got := strings.Join(paths, " "); got != "/v1/documents/role/eng%2Fweb /v1/roles/eng/web /v1/roles/ /v1/tasks/a.1%2F..%2Fb" {
		t.Error(got)
	}
}
