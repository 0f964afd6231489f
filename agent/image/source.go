package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"runtime"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

// maxMeta bounds manifests, indexes and configurations.
const maxMeta = registry.MaxManifest

// source is where an image's blobs come from. What it hands out is not checked
// yet. Its errors are *Error.
type source interface {
	// root returns the manifest or index the reference names.
	root(ctx context.Context) (oci.Descriptor, error)
	// manifest reads a manifest or index.
	manifest(ctx context.Context, d oci.Descriptor) ([]byte, error)
	// open reads a blob.
	open(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error)
	// signatures returns the manifests of signatures of a manifest.
	signatures(ctx context.Context, d sdk.Digest) ([][]byte, error)
	close()
}

func (s *Store) sourceOf(r Ref) (source, error) {
	path := r.Layout + r.Archive
	if path != "" && !filepath.IsAbs(path) {
		path = filepath.Join(s.layouts, path)
	}
	switch {
	case r.Layout != "":
		return layout{r, oci.OpenFolder(path)}, nil
	case r.Archive != "":
		l, err := oci.OpenArchive(path)
		if err != nil {
			return nil, reasoned(err)
		}
		return layout{r, l}, nil
	}
	return remote{r, registry.Name{Host: r.Host, Repo: r.Name}, s.registry}, nil
}

// layout reads an OCI layout, folder or archive.
type layout struct {
	ref  Ref
	from *oci.Layout
}

func (l layout) root(context.Context) (oci.Descriptor, error) {
	d, err := l.from.Find(l.ref.Tag, l.ref.Digest)
	if err == nil && !oci.ValidDigest(d.Digest) {
		return d, invalid("digest %q is no sha256 digest", d.Digest)
	}
	return d, reasoned(err)
}

func (l layout) manifest(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	return readMeta(ctx, l, d)
}

func (l layout) open(_ context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	r, _, err := l.from.Blob(d.Digest)
	return r, reasoned(err)
}

func (l layout) signatures(ctx context.Context, d sdk.Digest) ([][]byte, error) {
	list, err := l.from.Referrers(d, oci.TypeSignature)
	if err != nil {
		return nil, reasoned(err)
	}
	return signaturesOf(ctx, l, list)
}

func (l layout) close() { l.from.Close() }

// remote reads a registry.
type remote struct {
	ref  Ref
	name registry.Name
	from *registry.Client
}

func (r remote) root(context.Context) (oci.Descriptor, error) {
	return oci.Descriptor{Digest: r.ref.Digest}, nil
}

func (r remote) manifest(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	b, _, err := r.from.Manifest(ctx, r.name, string(d.Digest))
	return b, reasoned(err)
}

func (r remote) open(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	b, err := r.from.Blob(ctx, r.name, d)
	return b, reasoned(err)
}

func (r remote) signatures(ctx context.Context, d sdk.Digest) ([][]byte, error) {
	list, err := r.from.Referrers(ctx, r.name, d, oci.TypeSignature)
	if err != nil {
		return nil, reasoned(err)
	}
	return signaturesOf(ctx, r, list)
}

func (r remote) close() {}

// maxSignatures bounds how many signatures of one image are looked at.
const maxSignatures = 32

func signaturesOf(ctx context.Context, src source, list []oci.Descriptor) ([][]byte, error) {
	var out [][]byte
	for _, d := range list[:min(len(list), maxSignatures)] {
		if !oci.ValidDigest(d.Digest) {
			continue
		}
		b, err := src.manifest(ctx, d)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// reasoned gives a fault its reason.
func reasoned(err error) error {
	var e *Error
	var f *sdk.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case !errors.As(err, &f):
		return classify(err, "fetch")
	}
	r := sdk.ReasonImageUnavailable
	switch f.Kind {
	case sdk.NotFound:
		r = sdk.ReasonImageNotFound
	case sdk.Corrupt:
		r = sdk.ReasonImageDigest
	case sdk.Invalid, sdk.TooLarge:
		r = sdk.ReasonImageInvalid
	}
	return &Error{Reason: r, Fault: f}
}

// readMeta reads a manifest, index or configuration whole and checks it.
func readMeta(ctx context.Context, src source, d oci.Descriptor) ([]byte, error) {
	if !oci.ValidDigest(d.Digest) {
		return nil, invalid("digest %q is no sha256 digest", d.Digest)
	}
	body, err := src.open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, maxMeta+1))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, reasoned(err)
	}
	if len(b) > maxMeta {
		return nil, invalid("%s is larger than %s", d.Digest, sdk.FormatBytes(maxMeta))
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

// found is a manifest for this machine.
type found struct {
	root, digest sdk.Digest // what the reference names, and the manifest in it
	raw          []byte
	m            oci.Manifest
}

// find follows the reference to the manifest for this machine.
func find(ctx context.Context, src source) (*found, error) {
	d, err := src.root(ctx)
	if err != nil {
		return nil, err
	}
	out := &found{root: d.Digest}
	for range 4 {
		if out.raw, err = src.manifest(ctx, d); err != nil {
			return nil, err
		}
		var both struct {
			oci.Manifest
			Manifests []oci.Descriptor `json:"manifests"`
		}
		if err := json.Unmarshal(out.raw, &both); err != nil {
			return nil, invalid("manifest %s: %v", d.Digest, err)
		}
		if len(both.Manifests) == 0 {
			if !oci.ValidDigest(both.Config.Digest) {
				return nil, invalid("manifest %s has no configuration", d.Digest)
			}
			if len(both.Layers) > maxLayers {
				return nil, invalid("manifest %s has %d layers; the most is %d", d.Digest, len(both.Layers), maxLayers)
			}
			out.digest, out.m = d.Digest, both.Manifest
			return out, nil
		}
		next, ok := forThisMachine(both.Manifests)
		if !ok {
			return nil, failf(sdk.ReasonImageNotFound, sdk.Unsupported, "the image is not made for linux/%s", runtime.GOARCH).
				fix("build it for this machine, or constrain the task to nodes that it is made for")
		}
		if !oci.ValidDigest(next.Digest) {
			return nil, invalid("digest %q is no sha256 digest", next.Digest)
		}
		d = next
	}
	return nil, invalid("indexes are nested too deep")
}

// maxLayers bounds the layers of an image; overlayfs takes 500.
const maxLayers = 250

func forThisMachine(list []oci.Descriptor) (oci.Descriptor, bool) {
	for _, d := range list {
		if d.Platform == nil || d.Platform.OS == "linux" && d.Platform.Architecture == runtime.GOARCH {
			return d, true
		}
	}
	return oci.Descriptor{}, false
}
