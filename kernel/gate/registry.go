package gate

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Registry is the cluster's registry of images.
type Registry interface {
	// ServeHTTP serves what lies below /v2/, after the gate let it pass. The
	// header Drupe-Allowed-From names another repository that the client may
	// read.
	http.Handler
	// Repo returns the repository that a path below /v2/ is about; "" for none.
	Repo(path string) string
	// Collect removes what nothing needs.
	Collect() (sdk.Collected, error)
}

// allowedFrom is the header that ServeHTTP of a Registry reads.
const allowedFrom = "Drupe-Allowed-From"

// registryVerbs are what the guard is asked for each method, on
// "images/REPOSITORY". A node, known by its certificate, may only read.
var registryVerbs = map[string]string{
	"GET": "read", "HEAD": "read", "POST": "push", "PATCH": "push", "PUT": "push", "DELETE": "remove",
}

// serveRegistry takes a request of the registry's own protocol past the same
// checks as all others: who it is, and whether they may. Stock clients log in
// with any name and the token as the password.
func (g *Gate) serveRegistry(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	// The registry moves it on as the body comes.
	http.NewResponseController(w).SetReadDeadline(start.Add(g.opts.Patience))
	q := &request{Gate: g, w: w, r: r}
	rt := &Route{Method: r.Method, Verb: registryVerbs[r.Method]}
	if r.Method == http.MethodHead {
		rt.Method = http.MethodGet
	}
	seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	err := q.admitRegistry(rt)
	if err != nil {
		p := problemOf(err)
		h := w.Header()
		if p.Status == http.StatusUnauthorized {
			h.Set("WWW-Authenticate", `Basic realm="drupe"`)
		}
		h.Set("Content-Type", "application/json")
		seen.WriteHeader(p.Status)
		json.NewEncoder(seen).Encode(map[string]any{"errors": []map[string]string{
			{"code": strings.ToUpper(string(p.Code)), "message": err.Error()}}})
	} else {
		g.needs.Registry.ServeHTTP(seen, r)
	}
	g.note(rt, q, seen.status, err, time.Since(start))
}

func (q *request) admitRegistry(rt *Route) error {
	reg := q.needs.Registry
	if reg == nil {
		return sdk.Errorf(sdk.NotFound, q.r.URL.Path, "this server has no registry")
	}
	if rt.Verb == "" {
		return &withStatus{sdk.Errorf(sdk.Invalid, q.r.URL.Path, "does not know %s", q.r.Method), http.StatusMethodNotAllowed}
	}
	q.r.Header.Del(allowedFrom)
	if q.r.TLS != nil && len(q.r.TLS.PeerCertificates) > 0 && q.needs.Node != nil {
		node, err := q.needs.Node(*q.r.TLS)
		if err != nil {
			return err
		}
		q.who = "node/" + string(node)
		if rt.Verb != "read" {
			return sdk.Errorf(sdk.Denied, q.r.URL.Path, "a node may only read the registry")
		}
		return nil
	}
	token := ""
	scheme, rest, _ := strings.Cut(q.r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "bearer"):
		token = rest
	case strings.EqualFold(scheme, "basic"):
		_, token, _ = q.r.BasicAuth()
	}
	if token == "" {
		return sdk.Errorf(sdk.Unauthenticated, "", "no token was sent").
			ToFix("log in with any name and your token as the password")
	}
	who, ok := q.needs.Auth.Identify(token)
	if !ok {
		return sdk.Errorf(sdk.Unauthenticated, "", "the token is not known here").
			ToFix("check that address and token are of the same cluster")
	}
	q.who = who
	if from := q.r.URL.Query().Get("from"); from != "" && q.needs.Guard.Allow(who, "read", "images/"+from) == nil {
		q.r.Header.Set(allowedFrom, from)
	}
	return q.needs.Guard.Allow(who, rt.Verb, strings.TrimSuffix("images/"+reg.Repo(q.r.URL.Path), "/"))
}

// statusWriter remembers the status that was sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets deadlines through.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// collectImages has the registry drop what nothing needs.
func (q *request) collectImages() (any, error) {
	if q.needs.Registry == nil {
		return nil, sdk.Errorf(sdk.Unsupported, "registry", "this server has none")
	}
	return q.needs.Registry.Collect()
}
