package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// farewell is how long a session that is closed waits for the server to say so
// too.
const farewell = time.Second

// maxRequest bounds a request for a session, in bytes of JSON: it travels in an
// address.
const maxRequest = 16 << 10

// Session opens a session with a running task. session.New makes the client's
// end of what is returned, and its Close ends the session; ctx ends only the
// opening. A server that says nothing for 45 seconds, not even a ping, is lost.
//
// Errors: those of the server (NotFound for a task nobody knows, Conflict for
// one that does not run, Unavailable when its node cannot be reached, Exhausted
// when that has too many sessions), and Unavailable when the server could not be
// reached. What came after the opening is told by the session itself.
func (c *Client) Session(ctx context.Context, task sdk.TaskID, q *session.Request) (session.Transport, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "request", "%v", err)
	}
	if len(body) > maxRequest {
		return nil, sdk.Errorf(sdk.TooLarge, "request", "program, arguments and variables are %d bytes, more than %d", len(body), maxRequest).
			ToFix("pass what is long as input or in a file")
	}
	life, end := context.WithCancel(context.Background())
	t := &webSocket{life: life, end: end}
	header := http.Header{}
	if c.token != "" {
		header.Set("Authorization", "Bearer "+c.token)
	}
	answer := &witness{next: c.http.Transport}
	address := c.base + taskPath(task) + "/session?" + url.Values{"request": {base64.RawURLEncoding.EncodeToString(body)}}.Encode()
	t.ws, _, err = websocket.Dial(ctx, address, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: answer}, HTTPHeader: header,
		OnPingReceived: func(context.Context, []byte) bool { t.alive(); return true },
	})
	if err != nil {
		end()
		if answer.status != "" {
			return nil, c.refused(answer.status, answer.body)
		}
		return nil, c.unreachable(ctx, err)
	}
	t.dead = time.AfterFunc(silence, end)
	t.ws.SetReadLimit(1 + session.MaxData)
	return t, nil
}

// witness keeps the whole answer of a server that opens no WebSocket.
type witness struct {
	next   http.RoundTripper
	status string
	body   []byte
}

// RoundTrip passes the request on.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if err != nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return resp, err
	}
	w.status = resp.Status
	w.body, _ = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(nil))
	return resp, nil
}

// webSocket carries each frame in one binary message: its kind in the first
// byte, then its body.
type webSocket struct {
	ws   *websocket.Conn
	life context.Context
	end  context.CancelFunc
	dead *time.Timer // ends the life of a connection that is silent
	in   bytes.Buffer

	mu  sync.Mutex
	out []byte
}

func (t *webSocket) alive() { t.dead.Reset(silence) }

// Receive implements session.Transport.
func (t *webSocket) Receive() (byte, []byte, error) {
	kind, r, err := t.ws.Reader(t.life)
	if err == nil {
		t.in.Reset()
		_, err = t.in.ReadFrom(r)
	}
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code == websocket.StatusNormalClosure:
		return 0, nil, io.EOF
	case errors.As(err, &closed) && closed.Reason != "":
		return 0, nil, sdk.Errorf(sdk.Unavailable, "session", "broke off").Because("%s", closed.Reason).
			ToFix("try again; what ran in the session has been ended")
	case err != nil:
		return 0, nil, err
	case kind != websocket.MessageBinary || t.in.Len() == 0:
		return 0, nil, sdk.Errorf(sdk.Corrupt, "session", "a message that is no frame")
	}
	t.alive()
	b := t.in.Bytes()
	return b[0], b[1:], nil
}

// Send implements session.Transport.
func (t *webSocket) Send(kind byte, body []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out = append(append(t.out[:0], kind), body...)
	return t.ws.Write(t.life, websocket.MessageBinary, t.out)
}

// Close implements session.Transport.
func (t *webSocket) Close() error {
	t.dead.Stop()
	late := time.AfterFunc(farewell, t.end)
	defer late.Stop()
	defer t.end()
	return t.ws.Close(websocket.StatusNormalClosure, "")
}
