// Package gate is the HTTP API: it authenticates, decodes, asks the guard,
// hands requests to the kernel and writes what it answers.
//
// The gate decides nothing. It holds no state of the cluster, and what it needs
// it declares as small interfaces (see Needs). Every request passes the same
// way: find the route in the one table, know who it is, check permission, read
// the body within its bounds, call, answer. Errors leave as problem+json made
// from sdk.Fault.
package gate

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Options are the gate's settings. Zero fields take the stated value.
type Options struct {
	// Version of the server, as GET /v1/version tells it.
	Version string
	// Log receives every change, every refusal and every defect. None: dropped.
	Log *slog.Logger
	// Heartbeat is the longest silence of an event stream; 0 is 15s.
	Heartbeat time.Duration
	// Patience is how long a body may take to arrive, and one write to be
	// taken; 0 is 30s.
	Patience time.Duration
	// Deadline of a request that is no stream; 0 is 30s.
	Deadline time.Duration
	// Streams open at once, for all clients together; 0 is 1024.
	Streams int64
}

// Gate serves the API. It is an http.Handler.
type Gate struct {
	needs    Needs
	opts     Options
	mux      *http.ServeMux
	methods  map[string]bool // of the table
	streams  atomic.Int64
	counters counters
	closing  chan struct{}
	close    sync.Once
}

// New returns a gate in front of what it needs.
func New(needs Needs, o Options) *Gate {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.Heartbeat, 15*time.Second)
	setDefault(&o.Patience, 30*time.Second)
	setDefault(&o.Deadline, 30*time.Second)
	if o.Streams == 0 {
		o.Streams = 1024
	}
	g := &Gate{needs: needs, opts: o, mux: http.NewServeMux(), methods: map[string]bool{}, closing: make(chan struct{})}
	table := Routes()
	g.counters.init(table)
	for i := range table {
		rt := &table[i]
		g.methods[rt.Method] = true
		g.mux.HandleFunc(rt.Method+" "+rt.Pattern, func(w http.ResponseWriter, r *http.Request) { g.serve(rt, w, r) })
	}
	g.mux.HandleFunc("/v2/", g.serveRegistry)
	g.mux.HandleFunc("/", g.noRoute)
	return g
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d == 0 {
		*d = v
	}
}

// Close ends all streams, so that a server can shut down. Readers resume
// elsewhere where they were.
func (g *Gate) Close() { g.close.Do(func() { close(g.closing) }) }

// NewServer returns a server for h with bounds on everything a client can make
// it wait for. Whole-request deadlines would end streams: those are set per
// body and per write by the gate.
func NewServer(h *Gate, tlsConfig *tls.Config) *http.Server {
	s := &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(h.opts.Log.Handler(), slog.LevelDebug),
	}
	s.RegisterOnShutdown(h.Close)
	return s
}

// ServeHTTP serves one request.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	g.mux.ServeHTTP(w, r)
}

// request is one request on its way through the gate.
type request struct {
	*Gate
	w    http.ResponseWriter
	r    *http.Request
	who  string
	body []byte
}

// answered is what a handler returns that has written its answer itself.
type answered struct{}

// serve takes a request along the route.
func (g *Gate) serve(rt *Route, w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	q := &request{Gate: g, w: w, r: r}
	// A writer without deadlines, as in a unit test, is served without.
	http.NewResponseController(w).SetReadDeadline(start.Add(g.opts.Patience))
	answer, err := q.run(rt)
	status := http.StatusOK
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(g.opts.Patience))
	switch {
	case err != nil:
		status = fail(w, err)
	case answer == answered{}:
	case answer == switched{}:
		status = http.StatusSwitchingProtocols
	default:
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.Encode(answer)
	}
	g.counters.add(rt, status, time.Since(start))
	g.note(rt, q, status, err, time.Since(start))
}

// run does everything but answering. A panic below is a defect: it is logged
// and answered as one, and the next request finds a working gate.
func (q *request) run(rt *Route) (answer any, err error) {
	defer func() {
		if p := recover(); p != nil {
			q.opts.Log.Error("panic in a request", "route", rt.Pattern, "panic", p, "stack", string(debug.Stack()))
			answer, err = nil, sdk.Errorf(sdk.Internal, "", "an internal error").ToFix("see the server's log")
		}
	}()
	if err := q.admit(rt); err != nil {
		return nil, err
	}
	if err := q.checkQuery(rt); err != nil {
		return nil, err
	}
	if q.body, err = readBody(q.w, q.r, rt.Body, q.opts.Patience); err != nil {
		return nil, err
	}
	if rt.Stream {
		if q.streams.Add(1) > q.opts.Streams {
			q.streams.Add(-1)
			return nil, sdk.Errorf(sdk.Exhausted, "", "too many streams are open").
				Because("the bound is %d", q.opts.Streams).ToFix("close some, or try another server")
		}
		defer q.streams.Add(-1)
		return rt.handle(q)
	}
	ctx, cancel := context.WithTimeout(q.r.Context(), max(q.opts.Deadline, rt.Deadline))
	defer cancel()
	q.r = q.r.WithContext(ctx)
	return rt.handle(q)
}

// admit finds out who it is and whether they may.
func (q *request) admit(rt *Route) error {
	if rt.Open {
		return nil
	}
	scheme, token, _ := strings.Cut(q.r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "bearer") || token == "" {
		return sdk.Errorf(sdk.Unauthenticated, "", "no token was sent").
			ToFix("send the header \"Authorization: Bearer TOKEN\"")
	}
	who, ok := q.needs.Auth.Identify(token)
	if !ok {
		return sdk.Errorf(sdk.Unauthenticated, "", "the token is not known here").
			ToFix("check that address and token are of the same cluster")
	}
	q.who = who
	if rt.Each {
		return nil
	}
	return q.needs.Guard.Allow(who, rt.Verb, rt.object(q.r))
}

// note writes changes, refusals and defects to the server's log. Reads that
// went well are only counted.
func (g *Gate) note(rt *Route, q *request, status int, err error, took time.Duration) {
	read := rt.Method == http.MethodGet && !rt.Acts
	if read && status < 400 {
		return
	}
	level, attrs := slog.LevelInfo, []any{"who", q.who, "verb", rt.Verb, "path", q.r.URL.Path,
		"status", status, "took", took, "from", q.r.RemoteAddr}
	if err != nil {
		attrs = append(attrs, "error", err.Error())
	}
	switch {
	case status >= 500 && status != http.StatusServiceUnavailable:
		level = slog.LevelError
	case read && status != http.StatusForbidden && status != http.StatusUnauthorized:
		level = slog.LevelDebug
	}
	g.opts.Log.Log(q.r.Context(), level, "request", attrs...)
}

// noRoute answers what the table does not hold: 405 when only the method is
// wrong, else 404.
func (g *Gate) noRoute(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{"GET", "PUT", "POST", "DELETE"} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := g.mux.Handler(probe); g.methods[m] && pattern != "/" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		list := strings.Join(allowed, ", ")
		w.Header().Set("Allow", list)
		fail(w, &withStatus{sdk.Errorf(sdk.Invalid, r.URL.Path, "does not know %s", r.Method).
			ToFix("use %s", list), http.StatusMethodNotAllowed})
		return
	}
	fail(w, sdk.Errorf(sdk.NotFound, r.URL.Path, "there is no such place in the API").
		ToFix("API version 1 begins with /v1/"))
}
