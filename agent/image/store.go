// Package image gets OCI images onto a node: from a layout folder or a
// registry, checked to the last byte, each layer unpacked once.
//
// A Store lies in one folder:
//
//	layers/HEX     an unpacked layer, named by the digest of its blob; whiteouts
//	               are in overlayfs's own form, so layers stack as they are
//	images/HEX     what a manifest came to: configuration and layers, as JSON
//	modules/HEX    a WebAssembly module, named by its digest
//	tmp/           what is being unpacked; emptied at start
//
// A name in layers or images appears in one rename after its content is on
// disk, so neither a crash nor a full disk leaves half of anything.
package image

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// Options are a Store's settings; the zero value is fine.
type Options struct {
	// Layouts is where relative layout paths start; "" is the working folder.
	Layouts string
	// HTTP fetches from registries; nil is a client of our own.
	HTTP *http.Client
	// MaxLayer bounds the unpacked bytes of one layer; 0 is 64 GiB.
	MaxLayer int64
}

// Image is a resolved and unpacked image.
type Image struct {
	Digest sdk.Digest   `json:"digest"` // of its manifest
	Blobs  []sdk.Digest `json:"blobs"`  // of its layers, lowest first
	Config oci.Config   `json:"config"`
	// Layers are the unpacked layers on this node, lowest first.
	Layers []string `json:"-"`
	// Module is the WebAssembly module it is instead of layers.
	Module sdk.Digest `json:"module,omitempty"`
}

// Store keeps unpacked images in one folder. Its methods may be called
// concurrently.
type Store struct {
	dir     string
	layouts string
	http    *http.Client
	max     int64
	layers  flights
	// sweeping keeps layers from going while an image is made of them.
	sweeping sync.RWMutex
}

// Open opens or makes the store in dir. One process uses a dir at a time.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, layouts: o.Layouts, http: o.HTTP, max: o.MaxLayer}
	if s.max <= 0 {
		s.max = 64 << 30
	}
	if s.http == nil {
		s.http = &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment,
			ResponseHeaderTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute}}
	}
	if err := os.RemoveAll(filepath.Join(dir, "tmp")); err != nil {
		return nil, classify(err, "clear half-unpacked layers")
	}
	for _, sub := range []string{"layers", "images", "modules", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o711); err != nil {
			return nil, classify(err, "make the image store")
		}
	}
	return s, nil
}

// Resolve returns the image ref names, unpacked on this node. Layers that are
// here already are not read again. Errors: *Error.
func (s *Store) Resolve(ctx context.Context, ref string) (*Image, error) {
	img, err := s.resolve(ctx, ref)
	if err == nil && img.Module != "" {
		return nil, failf(sdk.ReasonInvalidTemplate, sdk.Invalid, "%s is a WebAssembly module, not a container's image", ref).
			fix("run it with run: wasm: module")
	}
	return img, err
}

// resolve returns the image or artifact, its content on this node.
func (s *Store) resolve(ctx context.Context, ref string) (*Image, error) {
	r, err := ParseRef(ref)
	if err != nil {
		return nil, err
	}
	s.sweeping.RLock()
	defer s.sweeping.RUnlock()
	if r.Digest != "" {
		if img, ok := s.known(r.Digest); ok {
			return img, s.touch(img)
		}
	}
	src := s.sourceOf(r)
	digest, m, err := manifestOf(ctx, src)
	if err != nil {
		return nil, err
	}
	if img, ok := s.known(digest); ok {
		return img, s.touch(img)
	}
	img := &Image{Digest: digest}
	if len(m.Layers) == 1 && m.Layers[0].MediaType == oci.TypeWasm {
		err = s.fetchModule(ctx, src, m, img)
	} else {
		err = s.fetchLayers(ctx, src, m, img)
	}
	if err != nil {
		return nil, err
	}
	return img, s.note(img)
}

// fetchLayers gets the configuration and the layers of an image.
func (s *Store) fetchLayers(ctx context.Context, src source, m *oci.Manifest, img *Image) error {
	raw, err := readMeta(ctx, src, m.Config, false)
	if err != nil {
		return err
	}
	var conf oci.Image
	if err := json.Unmarshal(raw, &conf); err != nil {
		return invalid("configuration %s: %v", m.Config.Digest, err)
	}
	if len(conf.RootFS.DiffIDs) != len(m.Layers) {
		return invalid("manifest %s has %d layers, its configuration %d", img.Digest, len(m.Layers), len(conf.RootFS.DiffIDs))
	}
	img.Config = conf.Config
	for i, d := range m.Layers {
		if !oci.ValidDigest(d.Digest) {
			return invalid("layer %d: %q is no sha256 digest", i, d.Digest)
		}
		if err := s.layer(ctx, src, d, conf.RootFS.DiffIDs[i]); err != nil {
			return err
		}
		img.Blobs = append(img.Blobs, d.Digest)
		img.Layers = append(img.Layers, s.layerDir(d.Digest))
	}
	return nil
}

func hexOf(d sdk.Digest) string { return strings.TrimPrefix(string(d), "sha256:") }

func (s *Store) layerDir(d sdk.Digest) string { return filepath.Join(s.dir, "layers", hexOf(d)) }
func (s *Store) imageFile(d sdk.Digest) string {
	return filepath.Join(s.dir, "images", hexOf(d))
}

// known returns an image that is here whole. A note that cannot be read, or a
// layer that is missing, makes it unknown: it is fetched again.
func (s *Store) known(d sdk.Digest) (*Image, bool) {
	b, err := os.ReadFile(s.imageFile(d))
	if err != nil {
		return nil, false
	}
	var n noted
	if json.Unmarshal(b, &n) != nil || oci.DigestOf(n.Image) != n.Sum {
		return nil, false
	}
	img := &Image{}
	if json.Unmarshal(n.Image, img) != nil || img.Digest != d {
		return nil, false
	}
	for _, b := range img.Blobs {
		if _, err := os.Stat(s.layerDir(b)); err != nil {
			return nil, false
		}
		img.Layers = append(img.Layers, s.layerDir(b))
	}
	if img.Module != "" {
		if _, err := os.Stat(s.moduleFile(img.Module)); err != nil {
			return nil, false
		}
	}
	return img, true
}

// touch notes that the image was asked for just now.
func (s *Store) touch(img *Image) error {
	now := time.Now()
	return classify(os.Chtimes(s.imageFile(img.Digest), now, now), "note image")
}

// noted is an image's file: what it is and a checksum of that.
type noted struct {
	Sum   sdk.Digest      `json:"sum"`
	Image json.RawMessage `json:"image"`
}

func (s *Store) note(img *Image) error {
	b, err := json.Marshal(img)
	if err == nil {
		b, err = json.Marshal(noted{Sum: oci.DigestOf(b), Image: b})
	}
	if err != nil {
		return invalid("image %s cannot be noted: %v", img.Digest, err)
	}
	f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "image-")
	if err != nil {
		return classify(err, "note image")
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return classify(err, "note image")
	}
	return classify(os.Rename(f.Name(), s.imageFile(img.Digest)), "note image")
}

// layer makes sure that the layer is unpacked. Callers that want the same one
// at the same time share the work.
func (s *Store) layer(ctx context.Context, src source, d oci.Descriptor, diff sdk.Digest) error {
	return s.layers.do(ctx, d.Digest, func(ctx context.Context) error {
		final := s.layerDir(d.Digest)
		if _, err := os.Stat(final); err == nil {
			return nil
		}
		body, err := src.open(ctx, d, false)
		if err != nil {
			return err
		}
		defer body.Close()
		stop := context.AfterFunc(ctx, func() { body.Close() })
		defer stop()
		tmp, err := os.MkdirTemp(filepath.Join(s.dir, "tmp"), "layer-")
		if err != nil {
			return classify(err, "unpack")
		}
		defer os.RemoveAll(tmp)
		if err := os.Chmod(tmp, 0o755); err != nil {
			return classify(err, "unpack")
		}
		if err := s.unpackBlob(body, d, diff, tmp); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return classify(err, "unpack layer "+string(d.Digest))
		}
		if err := settle(tmp); err != nil {
			return classify(err, "unpack layer "+string(d.Digest))
		}
		if err := os.Rename(tmp, final); err != nil {
			return classify(err, "unpack")
		}
		return classify(syncDir(filepath.Join(s.dir, "layers")), "unpack")
	})
}

// unpackBlob unpacks body into dir, checking size and both digests.
func (s *Store) unpackBlob(body io.Reader, d oci.Descriptor, diff sdk.Digest, dir string) error {
	packed := newCounter(body, d.Size)
	err := unpack(packed, dir, diff, s.max)
	// The blob's own digest is judged first: a damaged blob makes all sorts of
	// errors further in. Whatever the archive left unread belongs to it too.
	if _, rerr := io.Copy(io.Discard, packed); rerr != nil && err == nil {
		err = rerr
	}
	if packed.failed != nil {
		return packed.failed
	}
	if got := packed.digest(); got != d.Digest {
		return wrongDigest(d.Digest, got, d.Size, packed.n)
	}
	return err
}

// settle puts all below dir on disk.
func settle(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// Sweep removes the images that are not in use and were not asked for in the
// last age, and the layers that no image needs any more. It returns how many
// layers went. While an image is being resolved it does nothing.
func (s *Store) Sweep(inUse []sdk.Digest, age time.Duration) (removed int, err error) {
	if !s.sweeping.TryLock() {
		return 0, nil
	}
	defer s.sweeping.Unlock()
	keep := map[string]bool{}
	images, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil {
		return 0, classify(err, "sweep")
	}
	for _, e := range images {
		d := sdk.Digest("sha256:" + e.Name())
		img, ok := s.known(d)
		info, err := e.Info()
		recent := err == nil && time.Since(info.ModTime()) < age
		if !ok || !recent && !slices.Contains(inUse, d) {
			if err := os.Remove(s.imageFile(d)); err != nil {
				return 0, classify(err, "sweep")
			}
			continue
		}
		for _, b := range img.Blobs {
			keep[hexOf(b)] = true
		}
	}
	layers, err := os.ReadDir(filepath.Join(s.dir, "layers"))
	if err != nil {
		return 0, classify(err, "sweep")
	}
	for _, e := range layers {
		if keep[e.Name()] {
			continue
		}
		// Out of layers in one step, so that no half of a layer keeps its name.
		tmp := filepath.Join(s.dir, "tmp", "gone-"+e.Name())
		if err := os.Rename(filepath.Join(s.dir, "layers", e.Name()), tmp); err != nil {
			return removed, classify(err, "sweep")
		}
		if err := os.RemoveAll(tmp); err != nil {
			return removed, classify(err, "sweep")
		}
		removed++
	}
	return removed, nil
}
