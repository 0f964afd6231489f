package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// maxMeta bounds manifests, indexes and configurations.
const maxMeta = 4 << 20

// source is where an image's blobs come from. What it hands out is not checked
// yet.
type source interface {
	// root returns the manifest or index the reference names, and its digest
	// when the reference has none of its own.
	root(ctx context.Context) (oci.Descriptor, error)
	// open reads a blob. isManifest tells manifests, which registries keep
	// elsewhere.
	open(ctx context.Context, d oci.Descriptor, isManifest bool) (io.ReadCloser, error)
}

func (s *Store) sourceOf(r Ref) source {
	if r.Layout != "" {
		if !filepath.IsAbs(r.Layout) {
			r.Layout = filepath.Join(s.layouts, r.Layout)
		}
		return layout{r}
	}
	return &registry{r, s.http}
}

// layout reads an OCI layout folder.
type layout struct{ ref Ref }

func (l layout) root(context.Context) (oci.Descriptor, error) {
	f, err := os.Open(filepath.Join(l.ref.Layout, "index.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return oci.Descriptor{}, failf(sdk.ReasonImageNotFound, sdk.NotFound, "there is no image layout in %s on this node", l.ref.Layout).
			fix("build it there, or name another folder")
	}
	if err != nil {
		return oci.Descriptor{}, classify(err, "open layout")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxMeta))
	if err != nil {
		return oci.Descriptor{}, classify(err, "read layout")
	}
	var index oci.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return oci.Descriptor{}, invalid("%s/index.json is no OCI index: %v", l.ref.Layout, err)
	}
	var tags []string
	for _, d := range index.Manifests {
		tag := d.Annotations[oci.AnnotationTag]
		switch {
		case l.ref.Digest != "" && d.Digest == l.ref.Digest,
			l.ref.Digest == "" && l.ref.Tag != "" && tag == l.ref.Tag,
			l.ref.Digest == "" && l.ref.Tag == "" && (tag == "latest" || len(index.Manifests) == 1):
			return d, nil
		}
		tags = append(tags, tag)
	}
	if l.ref.Digest != "" {
		// It may lie there without being in the index: under a nested one.
		info, err := os.Stat(filepath.Join(l.ref.Layout, oci.BlobPath(l.ref.Digest)))
		if err == nil {
			return oci.Descriptor{Digest: l.ref.Digest, Size: info.Size()}, nil
		}
	}
	what := l.ref.Tag
	if l.ref.Digest != "" {
		what = string(l.ref.Digest)
	}
	return oci.Descriptor{}, failf(sdk.ReasonImageNotFound, sdk.NotFound, "%s holds no image %q", l.ref.Layout, what).
		fix("it has: %s", strings.Join(tags, ", "))
}

func (l layout) open(_ context.Context, d oci.Descriptor, _ bool) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(l.ref.Layout, oci.BlobPath(d.Digest)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failf(sdk.ReasonImageNotFound, sdk.NotFound, "%s lacks blob %s", l.ref.Layout, d.Digest).
			fix("the layout is incomplete: build or copy it again")
	}
	return f, classify(err, "open blob")
}

// registry speaks the pulling half of the OCI distribution protocol.
type registry struct {
	ref  Ref
	http *http.Client
}

func (r *registry) root(context.Context) (oci.Descriptor, error) {
	return oci.Descriptor{Digest: r.ref.Digest}, nil
}

var acceptManifests = strings.Join([]string{oci.TypeManifest, oci.TypeIndex, oci.TypeDockerManifest, oci.TypeDockerList}, ", ")

// tries is how often a request is made before the registry counts as not
// available.
const tries = 3

func (r *registry) open(ctx context.Context, d oci.Descriptor, isManifest bool) (io.ReadCloser, error) {
	scheme, kind := "https", "blobs"
	if r.ref.loopback() {
		scheme = "http"
	}
	if isManifest {
		kind = "manifests"
	}
	url := fmt.Sprintf("%s://%s/v2/%s/%s/%s", scheme, r.ref.Host, r.ref.Name, kind, d.Digest)
	var last error
	for try := range tries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return nil, classify(ctx.Err(), "fetch from "+r.ref.Host)
			case <-time.After(time.Duration(try) * 300 * time.Millisecond):
			}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, invalid("%s is no address: %v", url, err)
		}
		if isManifest {
			req.Header.Set("Accept", acceptManifests)
		}
		resp, err := r.http.Do(req)
		if err != nil {
			last = err
			continue
		}
		if resp.StatusCode == http.StatusOK {
			return resp.Body, nil
		}
		resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusNotFound:
			return nil, failf(sdk.ReasonImageNotFound, sdk.NotFound, "%s has no %s@%s", r.ref.Host, r.ref.Name, d.Digest).
				fix("push the image there, or correct its name or digest")
		case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
			return nil, failf(sdk.ReasonImageUnavailable, sdk.Denied, "%s does not let this node read %s (%s)", r.ref.Host, r.ref.Name, resp.Status).
				fix("let nodes read it without a login")
		case resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests:
			return nil, failf(sdk.ReasonImageUnavailable, sdk.Unavailable, "%s answered %s", url, resp.Status)
		}
		last = errors.New(resp.Status)
	}
	return nil, classify(last, "fetch from "+r.ref.Host)
}

// readMeta reads a manifest, index or configuration whole and checks it.
func readMeta(ctx context.Context, src source, d oci.Descriptor, isManifest bool) ([]byte, error) {
	if !oci.ValidDigest(d.Digest) {
		return nil, invalid("digest %q is no sha256 digest", d.Digest)
	}
	body, err := src.open(ctx, d, isManifest)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxMeta+1))
	if err != nil {
		return nil, classify(err, "read "+string(d.Digest))
	}
	if len(b) > maxMeta {
		return nil, invalid("%s is larger than %d bytes", d.Digest, maxMeta)
	}
	if got := oci.DigestOf(b); got != d.Digest {
		return nil, wrongDigest(d.Digest, got, d.Size, int64(len(b)))
	}
	return b, nil
}

// wrongDigest tells content that ends early from content that differs.
func wrongDigest(want, got sdk.Digest, size, n int64) error {
	if size > 0 && n < size {
		return invalid("%s is truncated: %d bytes of %d", want, n, size)
	}
	return failf(sdk.ReasonImageDigest, sdk.Corrupt, "content of %s does not match: it is %s", want, got).
		fix("the copy is damaged or was tampered with: build or push the image again")
}

// manifestOf follows the reference to the manifest for this machine.
func manifestOf(ctx context.Context, src source) (sdk.Digest, *oci.Manifest, error) {
	d, err := src.root(ctx)
	if err != nil {
		return "", nil, err
	}
	for range 4 {
		b, err := readMeta(ctx, src, d, true)
		if err != nil {
			return "", nil, err
		}
		var both struct {
			oci.Manifest
			Manifests []oci.Descriptor `json:"manifests"`
		}
		if err := json.Unmarshal(b, &both); err != nil {
			return "", nil, invalid("manifest %s: %v", d.Digest, err)
		}
		if len(both.Manifests) == 0 {
			if !oci.ValidDigest(both.Config.Digest) {
				return "", nil, invalid("manifest %s has no configuration", d.Digest)
			}
			return d.Digest, &both.Manifest, nil
		}
		next, ok := forThisMachine(both.Manifests)
		if !ok {
			return "", nil, failf(sdk.ReasonImageNotFound, sdk.Unsupported, "the image is not made for linux/%s", runtime.GOARCH).
				fix("build it for this machine, or constrain the task to nodes that it is made for")
		}
		d = next
	}
	return "", nil, invalid("indexes are nested too deep")
}

func forThisMachine(list []oci.Descriptor) (oci.Descriptor, bool) {
	for _, d := range list {
		if d.Platform == nil || d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH {
			return d, true
		}
	}
	return oci.Descriptor{}, false
}
