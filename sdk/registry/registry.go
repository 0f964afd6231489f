// Package registry is a client of OCI registries: it pulls and pushes manifests
// and blobs by the distribution protocol 1.1, and nothing else. The command
// line and the node use it.
//
// A request goes to a host's mirrors first, then to the host. What fails for a
// while (no connection, 429, 5xx) is tried again, later each time; a blob whose
// transfer breaks off goes on where it was. Credentials are sent to the host
// they are for, and never after a redirect to another.
//
// Errors are *sdk.Fault: NotFound, Unauthenticated, Denied, Invalid, TooLarge,
// Corrupt, Exhausted (no space or quota at the registry), Unavailable.
package registry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// ClusterHost is the host that stands for the cluster's own registry in a
// reference: "cluster/NAME@sha256:…".
const ClusterHost = "cluster"

// Name says where a repository is.
type Name struct {
	Host string // "docker.io", "registry.example:5000", ClusterHost
	Repo string // "team/app"
}

// String returns "HOST/REPO".
func (n Name) String() string { return n.Host + "/" + n.Repo }

// Options are a Client's settings; the zero value is fine.
type Options struct {
	// Auth holds the credentials; nil: none.
	Auth *Auth
	// Hosts holds mirrors and the like; nil: none.
	Hosts *Hosts
	// Cluster are the bases of the servers' addresses ("https://10.0.0.1:4600")
	// that answer for ClusterHost.
	Cluster []string
	// ClusterHTTP reaches them and says who asks; nil with an empty Cluster.
	ClusterHTTP http.RoundTripper
	// ClusterToken says who asks; "" when ClusterHTTP does by certificate.
	ClusterToken string
	// Tries is how often a request without any progress is made; 0: 4.
	Tries int
	// Pause is the wait before the second try; it doubles; 0: 300 ms.
	Pause time.Duration
	// Stall is the time in which a transfer must bring at least MinBytes;
	// 0: 30 s and 16 KiB.
	Stall    time.Duration
	MinBytes int64
}

// Client speaks to registries. It may be used by many goroutines at once.
type Client struct {
	o      Options
	tokens tokens
	plain  http.RoundTripper
	byCA   map[string]http.RoundTripper
}

// New returns a client. Errors: NotFound and Invalid for a CA file that Hosts
// names.
func New(o Options) (*Client, error) {
	if o.Tries <= 0 {
		o.Tries = 4
	}
	if o.Pause <= 0 {
		o.Pause = 300 * time.Millisecond
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.MinBytes <= 0 {
		o.MinBytes = 16 << 10
	}
	c := &Client{o: o, plain: transport(nil), byCA: map[string]http.RoundTripper{}}
	for host, h := range o.Hosts.all() {
		if h.CA == "" {
			continue
		}
		pool, err := loadCA(h.CA)
		if err != nil {
			return nil, err
		}
		c.byCA[host] = transport(pool)
	}
	return c, nil
}

// place is one way to a repository.
type place struct {
	base  string // "https://host:5000"
	host  string // whose credentials are sent; "": none are
	repo  string
	http  http.RoundTripper
	plain bool
	token string // sent as it is, in place of Auth
}

// places returns the ways to a repository, the first to be tried first. Only
// reading goes to mirrors.
func (c *Client) places(n Name, write bool) ([]place, error) {
	if n.Host == ClusterHost {
		var out []place
		for _, base := range c.o.Cluster {
			out = append(out, place{base: base, host: ClusterHost, repo: n.Repo, http: c.o.ClusterHTTP, token: c.o.ClusterToken})
		}
		if len(out) == 0 {
			return nil, sdk.Errorf(sdk.Unavailable, n.String(), "no server of the cluster is known here")
		}
		return out, nil
	}
	h := c.o.Hosts.of(n.Host)
	var out []place
	if !write {
		for _, m := range h.Mirrors {
			host, prefix, _ := strings.Cut(m, "/")
			out = append(out, c.place(host, join(prefix, n.Repo)))
		}
	}
	if !h.OnlyMirrors || write {
		out = append(out, c.place(n.Host, n.Repo))
	}
	return out, nil
}

func join(prefix, repo string) string {
	if prefix == "" {
		return repo
	}
	return strings.Trim(prefix, "/") + "/" + repo
}

func (c *Client) place(host, repo string) place {
	h := c.o.Hosts.of(host)
	p := place{host: host, repo: repo, http: c.plain, plain: h.Plain || Loopback(host) && h.CA == "" && !h.TLS}
	if rt := c.byCA[host]; rt != nil {
		p.http = rt
	}
	at := host
	if host == "docker.io" {
		at = "registry-1.docker.io"
		if !strings.Contains(repo, "/") {
			p.repo = "library/" + repo
		}
	}
	p.base = "https://" + at
	if p.plain {
		p.base = "http://" + at
		if !Loopback(host) {
			p.host = "" // a password would be readable on the way
		}
	}
	return p
}

// Loopback reports whether a host is this machine.
func Loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}

// request is what is asked of a place.
type request struct {
	method, path string // the path begins after "/v2/REPO/"
	url          string // in place of path: where an upload goes on
	header       http.Header
	body         func() (io.ReadCloser, int64, error)
	ok           []int // status codes that are answers
	once         bool  // not tried again
}

// each tries the request at every place until one answers. What only the last
// says is the error, unless an earlier place has it worse than "not found".
func (c *Client) each(ctx context.Context, n Name, r request) (*http.Response, place, error) {
	places, err := c.places(n, r.method != http.MethodGet && r.method != http.MethodHead)
	if err != nil {
		return nil, place{}, err
	}
	for _, p := range places {
		var resp *http.Response
		if resp, err = c.do(ctx, p, n, r); err == nil {
			return resp, p, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, place{}, err
}

// do makes the request until it is answered.
func (c *Client) do(ctx context.Context, p place, n Name, r request) (*http.Response, error) {
	var last error
	tries := c.o.Tries
	if r.once {
		tries = 1
	}
	var wait time.Duration
	for try := range tries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(max(wait, c.o.Pause<<(try-1))):
			}
		}
		resp, err := c.once(ctx, p, r)
		if ctx.Err() != nil {
			if err == nil {
				resp.Body.Close()
			}
			return nil, ctx.Err()
		}
		var f *sdk.Fault
		switch {
		case errors.As(err, &f):
			return nil, err
		case err != nil:
			last = sdk.Errorf(sdk.Unavailable, n.String(), "%s cannot be reached: %w", p.base, plainError(err))
			continue
		}
		for _, s := range r.ok {
			if resp.StatusCode == s {
				return resp, nil
			}
		}
		wait = retryAfter(resp)
		last = refusal(p, n, r, resp)
		resp.Body.Close()
		if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusRequestTimeout {
			return nil, last
		}
	}
	return nil, last
}

// maxWait bounds how long a registry may have us wait.
const maxWait = 20 * time.Second

func retryAfter(resp *http.Response) time.Duration {
	s, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(s)*time.Second, maxWait)
}

func plainError(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

// maxRedirects bounds how often an answer may send us elsewhere.
const maxRedirects = 5

// once makes the request once, with credentials as the registry wants them, and
// follows redirects without them.
func (c *Client) once(ctx context.Context, p place, r request) (*http.Response, error) {
	at := r.url
	if at == "" {
		at = p.base + "/v2/" + p.repo + "/" + r.path
	}
	credentials := c.tokens.get(p, r)
	for asked := 0; asked < 2; asked++ {
		resp, err := c.send(ctx, p, r, at, credentials)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || asked == 1 {
			return resp, err
		}
		next, err := c.answer(ctx, p, r, resp)
		if err != nil || next == "" {
			return resp, err
		}
		resp.Body.Close()
		credentials = next
	}
	return nil, nil
}

func (c *Client) send(ctx context.Context, p place, r request, at, credentials string) (*http.Response, error) {
	base, err := url.Parse(p.base)
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, p.base, "is no address: %v", err)
	}
	for range maxRedirects {
		req, err := http.NewRequestWithContext(ctx, r.method, at, nil)
		if err != nil {
			return nil, sdk.Errorf(sdk.Invalid, at, "is no address: %v", err)
		}
		for k, v := range r.header {
			req.Header[k] = v
		}
		req.Header.Set("User-Agent", "drupe")
		if r.body != nil {
			if req.Body, req.ContentLength, err = r.body(); err != nil {
				return nil, err
			}
			if req.ContentLength == 0 {
				req.Body.Close()
				req.Body = http.NoBody
			}
		}
		home := req.URL.Scheme == base.Scheme && req.URL.Host == base.Host
		if home && credentials != "" {
			req.Header.Set("Authorization", credentials)
		}
		rt := c.plain
		if home {
			rt = p.http
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		to := resp.Header.Get("Location")
		if resp.StatusCode != 301 && resp.StatusCode != 302 && resp.StatusCode != 303 && resp.StatusCode != 307 && resp.StatusCode != 308 || to == "" {
			return resp, nil
		}
		resp.Body.Close()
		next, err := req.URL.Parse(to)
		if err != nil || next.Scheme != "https" && next.Scheme != "http" {
			return nil, sdk.Errorf(sdk.Invalid, p.base, "sends us to %q, which is no address", to)
		}
		if req.URL.Scheme == "https" && next.Scheme == "http" {
			return nil, sdk.Errorf(sdk.Denied, p.base, "sends us from https to plain http").
				ToFix("have the registry hand out https addresses")
		}
		at = next.String()
	}
	return nil, sdk.Errorf(sdk.Unavailable, p.base, "sends us on more than %d times", maxRedirects)
}

// refusal makes a fault of an answer that is none.
func refusal(p place, n Name, r request, resp *http.Response) error {
	words, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	said := saidIn(words)
	about := n.String()
	what, _, _ := strings.Cut(r.path, "?")
	what = what[strings.LastIndexByte(what, '/')+1:]
	switch s := resp.StatusCode; {
	case s == http.StatusNotFound:
		return sdk.Errorf(sdk.NotFound, about, "%s has no %s", p.base, what).
			ToFix("push it there, or correct its name or digest")
	case s == http.StatusUnauthorized:
		return sdk.Errorf(sdk.Unauthenticated, about, "%s wants a login (%s)", p.base, resp.Status).
			ToFix("give credentials for %s, or let it be read without", n.Host)
	case s == http.StatusForbidden:
		return sdk.Errorf(sdk.Denied, about, "%s does not allow it (%s)%s", p.base, resp.Status, said).
			ToFix("ask the registry's operator for permission")
	case s == http.StatusRequestEntityTooLarge:
		return sdk.Errorf(sdk.TooLarge, about, "%s takes no %s of this size%s", p.base, what, said)
	case s == http.StatusInsufficientStorage:
		return sdk.Errorf(sdk.Exhausted, about, "%s has no space left%s", p.base, said).ToFix("drupe image gc, or a larger disk")
	case s == http.StatusTooManyRequests, s >= 500:
		return sdk.Errorf(sdk.Unavailable, about, "%s answered %s%s", p.base, resp.Status, said)
	}
	return sdk.Errorf(sdk.Invalid, about, "%s answered %s%s", p.base, resp.Status, said)
}
