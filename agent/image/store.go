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
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

// Options are a Store's settings; the zero value is fine.
type Options struct {
	// Layouts is where relative layout paths start; "" is the working folder.
	Layouts string
	// Registry reads registries; nil is a client without credentials.
	Registry *registry.Client
	// MaxLayer bounds the unpacked bytes of one layer; 0 is 64 GiB.
	MaxLayer int64
	// Layers bounds how many layers are fetched and unpacked at a time, of all
	// images together; 0: 4.
	Layers int
	// Verify is what images must pass.
	Verify Verify
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
	// Root is the manifest or index that the reference named.
	Root sdk.Digest `json:"root,omitempty"`
	// Verified says which demands it passed.
	Verified string `json:"verified,omitempty"`
}

// Store keeps unpacked images in one folder. Its methods may be called
// concurrently.
type Store struct {
	dir      string
	layouts  string
	registry *registry.Client
	max      int64
	verify   Verify
	slots    chan struct{} // for layers
	tallies  sync.Map      // sdk.Digest → *tally
	layers   flights
	// sweeping keeps layers from going while an image is made of them.
	sweeping sync.RWMutex
}

// Open opens or makes the store in dir. One process uses a dir at a time.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, layouts: o.Layouts, registry: o.Registry, max: o.MaxLayer, verify: o.Verify}
	if s.max <= 0 {
		s.max = 64 << 30
	}
	if o.Layers <= 0 {
		o.Layers = 4
	}
	s.slots = make(chan struct{}, o.Layers)
	if s.registry == nil {
		var err error
		if s.registry, err = registry.New(registry.Options{}); err != nil {
			return nil, err
		}
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
		if img, ok := s.known(r.Digest); ok && img.Verified == s.verify.id() {
			return img, s.touch(img)
		}
	}
	src, err := s.sourceOf(r)
	if err != nil {
		return nil, err
	}
	defer src.close()
	f, err := find(ctx, src)
	if err != nil {
		return nil, err
	}
	img, here := s.known(f.digest)
	want := s.verify.id()
	if here && img.Verified == want && img.Root == f.root {
		return img, s.touch(img)
	}
	if err := s.verify.check(ctx, ref, src, f, filepath.Join(s.dir, "tmp")); err != nil {
		return nil, err
	}
	if !here {
		img = &Image{Digest: f.digest}
		if len(f.m.Layers) == 1 && f.m.Layers[0].MediaType == oci.TypeWasm {
			err = s.fetchModule(ctx, src, &f.m, img)
		} else {
			err = s.fetchLayers(ctx, src, &f.m, img)
		}
		if err != nil {
			return nil, err
		}
	}
	img.Root, img.Verified = f.root, want
	return img, s.note(img)
}

// fetchLayers gets the configuration and the layers of an image.
func (s *Store) fetchLayers(ctx context.Context, src source, m *oci.Manifest, img *Image) error {
	raw, err := readMeta(ctx, src, m.Config)
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
	var counts []*tally
	for i, d := range m.Layers {
		if !oci.ValidDigest(d.Digest) {
			return invalid("layer %d: %q is no sha256 digest", i, d.Digest)
		}
		if d.Size < 0 {
			return invalid("layer %d: it has %d bytes", i, d.Size)
		}
		img.Blobs = append(img.Blobs, d.Digest)
		img.Layers = append(img.Layers, s.layerDir(d.Digest))
		if _, err := os.Stat(s.layerDir(d.Digest)); err != nil {
			counts = append(counts, s.tally(d))
		}
	}
	stop := report(ctx, counts)
	defer stop()
	// Each layer has a folder of its own, so their order does not matter.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(m.Layers))
	var wg sync.WaitGroup
	var first atomic.Int64
	for i, d := range m.Layers {
		wg.Go(func() {
			if errs[i] = s.layer(ctx, src, d, conf.RootFS.DiffIDs[i]); errs[i] != nil {
				first.CompareAndSwap(0, int64(i)+1)
				cancel()
			}
		})
	}
	wg.Wait()
	// The first to fail is why the others did not finish.
	if i := first.Load(); i > 0 {
		return errs[i-1]
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
	if json.Unmarshal(n.Image, img) != nil || img.Digest != d && img.Root != d {
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
	for _, d := range img.names() {
		if err := os.Chtimes(s.imageFile(d), now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return classify(err, "note image")
		}
	}
	return nil
}

// names are the digests under which it is noted.
func (img *Image) names() []sdk.Digest {
	if img.Root == "" || img.Root == img.Digest {
		return []sdk.Digest{img.Digest}
	}
	return []sdk.Digest{img.Digest, img.Root}
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
	for _, d := range img.names() {
		f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "image-")
		if err != nil {
			return classify(err, "note image")
		}
		_, err = f.Write(b)
		if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
			err = os.Rename(f.Name(), s.imageFile(d))
		}
		if err != nil {
			os.Remove(f.Name())
			return classify(err, "note image")
		}
	}
	return nil
}

// layer makes sure that the layer is unpacked. Callers that want the same one
// at the same time share the work.
func (s *Store) layer(ctx context.Context, src source, d oci.Descriptor, diff sdk.Digest) error {
	return s.layers.do(ctx, d.Digest, func(ctx context.Context) error {
		final := s.layerDir(d.Digest)
		if _, err := os.Stat(final); err == nil {
			return nil
		}
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
		defer s.tallies.Delete(d.Digest)
		body, err := src.open(ctx, d)
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
		if err := s.unpackBlob(s.tally(d).through(body), d, diff, tmp); err != nil {
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
	if d.Size > s.max {
		return invalid("a layer of %s is larger than the bound of %s", sdk.FormatBytes(d.Size), sdk.FormatBytes(s.max))
	}
	bound := d.Size
	if bound == 0 {
		bound = s.max // not stated: still no body may go on for ever
	}
	packed := newCounter(body, bound)
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
