package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// tokens remembers what a place last accepted.
type tokens struct {
	mu sync.Mutex
	m  map[string]accepted
}

type accepted struct {
	header string
	until  time.Time
}

func tokenKey(p place, r request) string {
	verb := "pull"
	if r.method != http.MethodGet && r.method != http.MethodHead {
		verb = "push"
	}
	return p.base + "\n" + p.repo + "\n" + verb
}

func (t *tokens) get(p place, r request) string {
	if p.token != "" {
		return "Bearer " + p.token
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok := t.m[tokenKey(p, r)]; ok && time.Now().Before(a.until) {
		return a.header
	}
	return ""
}

func (t *tokens) put(p place, r request, header string, life time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]accepted{}
	}
	t.m[tokenKey(p, r)] = accepted{header, time.Now().Add(life)}
}

// answer finds what to send after a registry asked who we are; "" when there is
// nothing.
func (c *Client) answer(ctx context.Context, p place, r request, resp *http.Response) (string, error) {
	if p.token != "" {
		return "", nil
	}
	login, known := c.o.Auth.of(p.host)
	for _, h := range resp.Header.Values("WWW-Authenticate") {
		scheme, params := challenge(h)
		switch {
		case scheme == "basic" && known && login.Username != "":
			header := "Basic " + base64.StdEncoding.EncodeToString([]byte(login.Username+":"+login.Password))
			c.tokens.put(p, r, header, time.Hour)
			return header, nil
		case scheme == "bearer" && login.Bearer != "":
			return "Bearer " + login.Bearer, nil
		case scheme == "bearer":
			token, life, err := c.token(ctx, p, r, params, login)
			if err != nil || token == "" {
				return "", err
			}
			c.tokens.put(p, r, "Bearer "+token, life)
			return "Bearer " + token, nil
		}
	}
	return "", nil
}

// token fetches a token where the challenge says.
func (c *Client) token(ctx context.Context, p place, r request, params map[string]string, login Credentials) (string, time.Duration, error) {
	realm, err := url.Parse(params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && !(realm.Scheme == "http" && p.plain) {
		return "", 0, sdk.Errorf(sdk.Denied, p.base, "it asks to fetch a token from %q", params["realm"]).
			Because("a token is fetched by https only").ToFix("correct the registry's settings")
	}
	scope := params["scope"]
	if scope == "" {
		scope = "repository:" + p.repo + ":pull"
		if r.method != http.MethodGet && r.method != http.MethodHead {
			scope += ",push"
		}
	}
	q := url.Values{"service": {params["service"]}, "scope": strings.Fields(scope)}
	var req *http.Request
	if login.Identity != "" {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {login.Identity}, "client_id": {"drupe"},
			"service": {params["service"]}, "scope": {scope}}
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	} else {
		realm.RawQuery = q.Encode()
		req, err = http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
		if err == nil && login.Username != "" {
			req.SetBasicAuth(login.Username, login.Password)
		}
	}
	if err != nil {
		return "", 0, sdk.Errorf(sdk.Invalid, p.base, "it names %q to fetch a token from", realm)
	}
	rt := c.plain
	if base, err := url.Parse(p.base); err == nil && base.Host == realm.Host {
		rt = p.http
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxConfig))
	if err != nil {
		return "", 0, err
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return "", 0, sdk.Errorf(sdk.Unavailable, realm.Host, "gave no token: %s", resp.Status)
	}
	if resp.StatusCode != http.StatusOK {
		return "", 0, nil // the registry's own refusal is the better error
	}
	var out struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int    `json:"expires_in"`
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return "", 0, sdk.Errorf(sdk.Invalid, realm.Host, "its answer is no token")
	}
	if out.Token == "" {
		out.Token = out.AccessToken
	}
	// Docker's rule: a minute, unless it says more. Some of it is left unused.
	life := time.Duration(max(out.ExpiresIn, 60)) * time.Second * 4 / 5
	return out.Token, life, nil
}

// challenge reads one WWW-Authenticate header.
func challenge(h string) (scheme string, params map[string]string) {
	scheme, rest, _ := strings.Cut(h, " ")
	params = map[string]string{}
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimLeft(rest, ", ") {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		var value string
		if strings.HasPrefix(after, `"`) {
			value, rest, _ = strings.Cut(after[1:], `"`)
		} else {
			value, rest, _ = strings.Cut(after, ",")
		}
		params[strings.ToLower(strings.TrimSpace(name))] = value
	}
	return strings.ToLower(scheme), params
}
