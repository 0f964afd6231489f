package registry

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

func client(t *testing.T, o Options) *Client {
	t.Helper()
	o.Pause = time.Millisecond
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func host(s *httptest.Server) string { return s.URL[strings.LastIndex(s.URL, "/")+1:] }

// TestResume: a blob whose transfer breaks off again and again arrives whole,
// and nothing of it is asked for twice.
func TestResume(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 16<<10)
	d := oci.Descriptor{Digest: oci.DigestOf(content), Size: int64(len(content))}
	var from []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.Header.Get("Range"))
		var at int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at)
		if at > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(content[at:min(at+100_000, len(content))])
		if at+100_000 < len(content) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	defer srv.Close()
	r, err := client(t, Options{}).Blob(t.Context(), Name{host(srv), "a"}, d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, content) || len(from) != 3 {
		t.Fatalf("%d bytes, %v, asked %q", len(got), err, from)
	}
}

// TestRedirectCarriesNoCredentials: over TLS with a CA file and basic and bearer
// logins, as real registries ask for them.
func TestRedirectCarriesNoCredentials(t *testing.T) {
	content := []byte("content")
	var leaked atomic.Value
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked.Store(r.Header.Get("Authorization"))
		w.Write(content)
	}))
	defer other.Close()
	var srv *httptest.Server
	for _, scheme := range []string{"Basic", "Bearer"} {
		srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name, password, ok := r.BasicAuth()
			good := ok && name == "u" && password == "p"
			switch {
			case r.URL.Path == "/token" && good:
				fmt.Fprintf(w, `{"token":"t1"}`)
			case good && scheme == "Basic", r.Header.Get("Authorization") == "Bearer t1":
				http.Redirect(w, r, other.URL+"/there", http.StatusTemporaryRedirect)
			case scheme == "Basic":
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(http.StatusUnauthorized)
			default:
				w.Header().Set("WWW-Authenticate", `Bearer realm="`+srv.URL+`/token",service="s",scope="repository:a:pull"`)
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		ca := filepath.Join(t.TempDir(), "ca.pem")
		os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o644)
		login := NewAuth(map[string]Credentials{host(srv): {Username: "u", Password: "p"}})
		c := client(t, Options{Auth: login, Hosts: &Hosts{map[string]Host{host(srv): {CA: ca}}}})
		// What redirects lead to is believed by the system's CAs only.
		c.plain.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		leaked.Store("nobody came")
		r, err := c.Blob(t.Context(), Name{host(srv), "a"}, oci.Descriptor{Digest: oci.DigestOf(content), Size: 7})
		if err != nil {
			t.Fatalf("%s: %v", scheme, err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil || string(b) != "content" || leaked.Load() != "" {
			t.Errorf("%s: %q, %v; the other host was sent %q", scheme, b, err, leaked.Load())
		}
		_, err = client(t, Options{Hosts: &Hosts{map[string]Host{host(srv): {CA: ca}}}}).Blob(t.Context(), Name{host(srv), "a"}, oci.Descriptor{Digest: oci.DigestOf(content)})
		if sdk.KindOf(err) != sdk.Unauthenticated {
			t.Errorf("%s without a login: %v", scheme, err)
		}
		srv.Close()
	}
}

// TestHostileAnswers: each ends in an error of its kind, in bounded time.
func TestHostileAnswers(t *testing.T) {
	d := sdk.Digest("sha256:" + strings.Repeat("0", 64))
	for name, tt := range map[string]struct {
		serve http.HandlerFunc
		want  sdk.FaultKind
	}{
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			for b := make([]byte, 64<<10); ; {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}, sdk.TooLarge},
		"dripping": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				w.Write([]byte("x"))
				w.(http.Flusher).Flush()
				<-time.After(5 * time.Millisecond)
			}
		}, sdk.Unavailable},
		"other content":  {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("{}")) }, sdk.Corrupt},
		"going in rings": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, 307) }, sdk.Unavailable},
		"to a file": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(302)
		}, sdk.Invalid},
		"a plain realm elsewhere": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="ftp://evil/token"`)
			w.WriteHeader(401)
		}, sdk.Denied},
		"not now": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, sdk.Unavailable},
	} {
		srv := httptest.NewServer(tt.serve)
		_, _, err := client(t, Options{Stall: 50 * time.Millisecond, Tries: 2}).Manifest(t.Context(), Name{host(srv), "a"}, string(d))
		if sdk.KindOf(err) != tt.want {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
		srv.Close()
	}
}

// TestMirrors: the mirror is asked first, under its prefix; what it lacks comes
// from the host.
func TestMirrors(t *testing.T) {
	body := []byte(`{"schemaVersion":2}`)
	var asked []string
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/here") {
			w.Write(body)
			return
		}
		http.NotFound(w, r)
	}))
	defer mirror.Close()
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, "origin "+r.URL.Path)
		w.Write(body)
	}))
	defer origin.Close()
	c := client(t, Options{Hosts: &Hosts{map[string]Host{host(origin): {Mirrors: []string{host(mirror) + "/hub"}}}}})
	for _, tag := range []string{"here", "there"} {
		if _, _, err := c.Manifest(t.Context(), Name{host(origin), "a"}, tag); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := strings.Join(asked, " "), "/v2/hub/a/manifests/here /v2/hub/a/manifests/there origin /v2/a/manifests/there"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}
