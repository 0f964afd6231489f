package gate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
	"github.com/drupe-os/drupe/sdk/wire"
)

// switched is what a handler returns that took the connection over.
type switched struct{}

// session joins a WebSocket with a session of a task. All that can be refused is
// refused before the connection is one. Each frame of sdk/session is one binary
// message: the frame's kind in the first byte, then its body.
func (q *request) session() (any, error) {
	if err := q.wantsWebSocket(); err != nil {
		return nil, err
	}
	body, err := base64.RawURLEncoding.DecodeString(q.param("request"))
	if err != nil {
		return nil, malformed(sdk.Errorf(sdk.Invalid, "", "is not base64url without padding: %v", err).At("request"))
	}
	var ask session.Request
	if err := decode(body, &ask); err != nil {
		return nil, err
	}
	if q.needs.Sessions == nil {
		return nil, sdk.Errorf(sdk.Unsupported, "task/"+string(q.taskID()), "this server opens no sessions")
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), q.opts.Deadline)
	raw, err := q.needs.Sessions.OpenSession(ctx, q.taskID(), body)
	cancel()
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	ws, err := websocket.Accept(q.w, q.r, nil)
	if err != nil { // it has been answered
		q.opts.Log.Debug("no WebSocket", "path", q.r.URL.Path, "error", err)
		return answered{}, nil
	}
	q.opts.Log.Info("session begins", "who", q.who, "path", q.r.URL.Path, "op", string(ask.Op), "sidecar", ask.Sidecar,
		"program", first(ask.Command), "from", q.r.RemoteAddr)
	s := &relay{ws: ws, raw: raw, patience: q.opts.Patience, ping: q.opts.Heartbeat}
	s.run(q.closing)
	return switched{}, nil
}

func first(l []string) string {
	if len(l) == 0 {
		return ""
	}
	return l[0]
}

// wantsWebSocket refuses a request that could not become a WebSocket.
func (q *request) wantsWebSocket() error {
	h := q.r.Header
	if q.r.ProtoMajor == 1 && hasToken(h, "Connection", "upgrade") && hasToken(h, "Upgrade", "websocket") &&
		h.Get("Sec-WebSocket-Version") == "13" && h.Get("Sec-WebSocket-Key") != "" {
		return nil
	}
	q.w.Header().Set("Connection", "Upgrade")
	q.w.Header().Set("Upgrade", "websocket")
	q.w.Header().Set("Sec-WebSocket-Version", "13")
	return &withStatus{sdk.Errorf(sdk.Invalid, "task/"+string(q.taskID()), "a session goes over a WebSocket").
		Because("the request does not ask to become one (HTTP/1.1 with Connection: Upgrade, Upgrade: websocket, Sec-WebSocket-Version: 13)").
		ToFix("use drupe exec and the like, or a WebSocket client"), http.StatusUpgradeRequired}
}

// hasToken reports whether a header's list of words has this one.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

// relay carries frames between a client and a task. Neither side keeps it
// waiting for long, since both send only what the other has room for; a write
// that takes longer than patience is to a side that is gone.
type relay struct {
	ws       *websocket.Conn
	raw      net.Conn
	patience time.Duration
	ping     time.Duration
}

// run returns when the session is over, and everything it began with it. It is
// the client who hangs up; where it is the task's side or the server, the client
// is told.
func (s *relay) run(closing <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	s.ws.SetReadLimit(1 + session.MaxData)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer s.ws.CloseNow()
	defer s.raw.Close()
	up, down := make(chan struct{}), make(chan error, 1)
	wg.Go(func() { defer close(up); s.up(ctx) })
	wg.Go(func() { down <- s.down(ctx) })
	wg.Go(func() { s.pings(ctx) })
	select {
	case <-up:
	case err := <-down:
		if errors.Is(err, io.EOF) {
			s.bye(cancel, websocket.StatusNormalClosure, "")
		} else {
			s.bye(cancel, websocket.StatusInternalError, "the connection to the task was lost")
		}
	case <-closing:
		s.bye(cancel, websocket.StatusGoingAway, "the server ends")
	}
}

// farewell is how long a client has to hang up when it was told to.
const farewell = 2 * time.Second

// bye tells the client that it is over, and why.
func (s *relay) bye(cancel context.CancelFunc, code websocket.StatusCode, why string) {
	late := time.AfterFunc(farewell, cancel)
	defer late.Stop()
	s.ws.Close(code, why)
}

// up carries what the client sends, until that one is gone.
func (s *relay) up(ctx context.Context) {
	var in bytes.Buffer
	var out []byte
	for {
		kind, r, err := s.ws.Reader(ctx)
		if err != nil {
			return
		}
		in.Reset()
		if _, err := in.ReadFrom(r); err != nil {
			return
		}
		if kind != websocket.MessageBinary || in.Len() == 0 {
			s.ws.Close(websocket.StatusUnsupportedData, "a message is a frame: its kind in a byte, then its body")
			return
		}
		out = wire.AppendFrame(out[:0], in.Bytes()[0], in.Bytes()[1:])
		s.raw.SetWriteDeadline(time.Now().Add(s.patience))
		if _, err := s.raw.Write(out); err != nil {
			s.raw.Close() // down sees it and tells the client, who then hangs up
		}
	}
}

// down carries what the task's side sends. Its error is io.EOF when that side
// closed the connection.
func (s *relay) down(ctx context.Context) error {
	in := bufio.NewReaderSize(s.raw, 16<<10)
	var buf, out []byte
	for {
		kind, body, err := wire.Read(in, &buf)
		if err != nil {
			return err
		}
		out = append(append(out[:0], kind), body...)
		if err := s.write(ctx, out); err != nil {
			return err
		}
	}
}

func (s *relay) write(ctx context.Context, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	return s.ws.Write(ctx, websocket.MessageBinary, message)
}

// pings finds out when a client is gone without a word: then it ends the
// connection, and up with it.
func (s *relay) pings(ctx context.Context) {
	tick := time.NewTicker(s.ping)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pctx, cancel := context.WithTimeout(ctx, s.ping)
		err := s.ws.Ping(pctx)
		cancel()
		if err != nil {
			s.ws.CloseNow()
			return
		}
	}
}
