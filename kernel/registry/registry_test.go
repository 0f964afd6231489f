package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

func serve(t *testing.T, o Options) (*Registry, *registry.Client, registry.Name) {
	t.Helper()
	r, err := Open(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	c, err := registry.New(registry.Options{Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return r, c, registry.Name{Host: strings.TrimPrefix(srv.URL, "http://"), Repo: "team/app"}
}

func push(t *testing.T, c *registry.Client, n registry.Name, b []byte) oci.Descriptor {
	t.Helper()
	d := oci.Descriptor{MediaType: oci.TypeWasm, Digest: oci.DigestOf(b), Size: int64(len(b))}
	if err := c.PutBlob(t.Context(), n, d, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }); err != nil {
		t.Fatal(err)
	}
	return d
}

// manifest pushes an artifact whose one layer is the text.
func manifest(t *testing.T, c *registry.Client, n registry.Name, tag, text string) (sdk.Digest, sdk.Digest) {
	t.Helper()
	push(t, c, n, []byte(oci.EmptyJSON))
	l := push(t, c, n, []byte(text))
	body := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":2},"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		oci.TypeManifest, oci.TypeEmpty, oci.DigestOf([]byte(oci.EmptyJSON)), l.MediaType, l.Digest, l.Size)
	if tag == "" {
		tag = string(oci.DigestOf(body))
	}
	d, err := c.PutManifest(t.Context(), n, tag, oci.TypeManifest, body)
	if err != nil {
		t.Fatal(err)
	}
	return d, l.Digest
}

func TestPushAndPull(t *testing.T) {
	_, c, n := serve(t, Options{})
	d, layer := manifest(t, c, n, "v1", "content")
	for _, ref := range []string{"v1", string(d)} {
		b, mt, err := c.Manifest(t.Context(), n, ref)
		if err != nil || oci.DigestOf(b) != d || mt != oci.TypeManifest {
			t.Fatalf("%s: %s %q %v", ref, b, mt, err)
		}
	}
	r, err := c.Blob(t.Context(), n, oci.Descriptor{Digest: layer, Size: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "content" {
		t.Fatalf("%q, %v", b, err)
	}
	if tags, err := c.Tags(t.Context(), n); err != nil || len(tags) != 1 || tags[0] != "v1" {
		t.Fatalf("%v, %v", tags, err)
	}
	if ok, _ := c.HasBlob(t.Context(), registry.Name{Host: n.Host, Repo: "other"}, layer); ok {
		t.Error("another repository has the blob")
	}
	if err := c.Delete(t.Context(), n, "v1"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Manifest(t.Context(), n, "v1"); sdk.KindOf(err) != sdk.NotFound {
		t.Fatalf("after removal: %v", err)
	}
}

// TestRefuses: what is wrong is refused and leaves nothing.
func TestRefuses(t *testing.T) {
	r, _, n := serve(t, Options{MaxBlob: 10})
	base := "http://" + n.Host + "/v2/"
	wrong := "sha256:" + strings.Repeat("0", 64)
	for _, tt := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "team/app/blobs/uploads/?digest=" + wrong, "content", 400},
		{"POST", "team/app/blobs/uploads/?digest=" + string(oci.DigestOf([]byte("more than ten"))), "more than ten", 413},
		{"PUT", "team/app/manifests/v1", "{}", 400},
		{"PUT", "team/app/manifests/v1", `{"mediaType":"` + oci.TypeManifest + `","config":{"digest":"` + wrong + `"}}`, 400},
		{"PUT", "team/app/manifests/..", "{}", 404},
		{"GET", "team/app/manifests/%2e%2e%2f%2e%2e%2fx", "", 404},
		{"GET", "_blobs/app/manifests/v1", "", 404},
		{"GET", "a//b/tags/list", "", 404},
		{"PATCH", "team/app/blobs/uploads/0123", "x", 404},
		{"GET", "team/app/blobs/" + wrong, "", 404},
		{"DELETE", "team/app/manifests/" + wrong, "", 404},
	} {
		q, err := http.NewRequest(tt.method, base+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, resp.StatusCode, tt.want)
		}
	}
	for _, sub := range []string{"/blobs/sha256", "/repos", "/uploads"} {
		if left, _ := os.ReadDir(r.dir + sub); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
}

// TestCollect: what a tag, a document or a young age holds stays; the rest goes.
func TestCollect(t *testing.T) {
	var live []sdk.Digest
	r, c, n := serve(t, Options{Grace: time.Nanosecond, Live: func() []sdk.Digest { return live }})
	tagged, _ := manifest(t, c, n, "v1", "tagged")
	named, layer := manifest(t, c, n, "", "named by a document")
	gone, lost := manifest(t, c, n, "", "nobody's")
	live = []sdk.Digest{named}
	out, err := r.Collect()
	if err != nil || out.Manifests != 1 || out.Blobs != 2 {
		t.Fatalf("%+v, %v", out, err)
	}
	for d, want := range map[sdk.Digest]bool{tagged: true, named: true, gone: false} {
		if _, _, err := c.Manifest(t.Context(), n, string(d)); (err == nil) != want {
			t.Errorf("%s: %v", d, err)
		}
	}
	for d, want := range map[sdk.Digest]bool{layer: true, lost: false} {
		if ok, err := c.HasBlob(t.Context(), n, d); ok != want {
			t.Errorf("blob %s: %v %v", d, ok, err)
		}
	}
	r.o.Grace, live = time.Hour, nil
	if out, _ := r.Collect(); out.Manifests != 0 {
		t.Errorf("what is young went: %+v", out)
	}
}
