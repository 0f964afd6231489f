package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

// origin is where an image is copied from.
type origin interface {
	root(ctx context.Context) (oci.Descriptor, error)
	manifest(ctx context.Context, d sdk.Digest) ([]byte, error)
	blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error)
}

// originOf finds out what a SOURCE is: a layout's folder or archive, a module's
// file. Errors: NotFound, Invalid.
func originOf(source string) (origin, error) {
	path, tag := source, ""
	kind, rest, ok := strings.Cut(source, ":")
	explicit := ok && (kind == "oci" || kind == "oci-archive")
	if explicit {
		path = rest
	}
	if i := strings.LastIndexByte(path, ':'); i > strings.LastIndexByte(path, '/') {
		path, tag = path[:i], path[i+1:]
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, sdk.Errorf(sdk.NotFound, source, "cannot be read").Because("%v", err).
			ToFix("give the folder of an OCI layout, an archive of docker save, or a .wasm file")
	}
	if info.IsDir() {
		return local{oci.OpenFolder(path), tag}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, sdk.Errorf(sdk.NotFound, source, "cannot be read").Because("%v", err)
	}
	defer f.Close()
	head := make([]byte, 4)
	if _, err := io.ReadFull(f, head); err == nil && string(head) == "\x00asm" {
		return moduleOrigin(path)
	}
	l, err := oci.OpenArchive(path)
	if err != nil {
		return nil, err
	}
	return local{l, tag}, nil
}

// local is a layout.
type local struct {
	l   *oci.Layout
	tag string
}

func (o local) root(context.Context) (oci.Descriptor, error) { return o.l.Find(o.tag, "") }

func (o local) manifest(_ context.Context, d sdk.Digest) ([]byte, error) {
	if !oci.ValidDigest(d) {
		return nil, sdk.Errorf(sdk.Invalid, "image", "%q is no sha256 digest", d)
	}
	r, _, err := o.l.Blob(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, registry.MaxManifest))
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, "image", "%w", err)
	}
	if oci.DigestOf(b) != d {
		return nil, sdk.Errorf(sdk.Corrupt, "image", "the content of %s does not match", d)
	}
	return b, nil
}

func (o local) blob(_ context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	r, _, err := o.l.Blob(d.Digest)
	return r, err
}

// distant is an image in a registry.
type distant struct {
	c    *registry.Client
	name registry.Name
	ref  string
}

func (o distant) root(ctx context.Context) (oci.Descriptor, error) {
	b, _, err := o.c.Manifest(ctx, o.name, o.ref)
	return oci.Descriptor{Digest: oci.DigestOf(b), Size: int64(len(b))}, err
}

func (o distant) manifest(ctx context.Context, d sdk.Digest) ([]byte, error) {
	b, _, err := o.c.Manifest(ctx, o.name, string(d))
	return b, err
}

func (o distant) blob(ctx context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	return o.c.Blob(ctx, o.name, d)
}

// made is an artifact made here.
type made struct {
	top   []byte
	blobs map[sdk.Digest][]byte
}

// moduleOrigin makes an artifact of a WebAssembly module.
func moduleOrigin(path string) (origin, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > 1<<30 {
		return nil, sdk.Errorf(sdk.TooLarge, path, "is %s", sdk.FormatBytes(info.Size()))
	}
	module, err := os.ReadFile(path)
	if err != nil {
		return nil, sdk.Errorf(sdk.NotFound, path, "cannot be read").Because("%v", err)
	}
	empty := []byte(oci.EmptyJSON)
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.TypeManifest, ArtifactType: oci.TypeWasm,
		Config: oci.Descriptor{MediaType: oci.TypeEmpty, Digest: oci.DigestOf(empty), Size: int64(len(empty))},
		Layers: []oci.Descriptor{{MediaType: oci.TypeWasm, Digest: oci.DigestOf(module), Size: int64(len(module))}}}
	top, err := json.Marshal(m)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, path, "encode: %v", err)
	}
	return made{top, map[sdk.Digest][]byte{m.Config.Digest: empty, m.Layers[0].Digest: module}}, nil
}

func (o made) root(context.Context) (oci.Descriptor, error) {
	return oci.Descriptor{MediaType: oci.TypeManifest, Digest: oci.DigestOf(o.top), Size: int64(len(o.top))}, nil
}
func (o made) manifest(context.Context, sdk.Digest) ([]byte, error) { return o.top, nil }
func (o made) blob(_ context.Context, d oci.Descriptor) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(o.blobs[d.Digest])), nil
}

// copying is one copy of an image into a registry.
type copying struct {
	from        origin
	c           *registry.Client
	to          registry.Name
	done, total atomic.Int64
}

// parts is a manifest or an index, as far as copying goes.
type parts struct {
	oci.Manifest
	Manifests []oci.Descriptor `json:"manifests"`
}

// run copies the image, and gives it the tag when there is one.
func (c *copying) run(ctx context.Context, tag string) (sdk.Digest, error) {
	d, err := c.from.root(ctx)
	if err != nil {
		return "", err
	}
	return d.Digest, c.manifest(ctx, d.Digest, tag, 0)
}

// manifest copies a manifest after all that it is made of.
func (c *copying) manifest(ctx context.Context, d sdk.Digest, ref string, depth int) error {
	b, err := c.from.manifest(ctx, d)
	if err != nil {
		return err
	}
	var p parts
	if err := json.Unmarshal(b, &p); err != nil || depth > 3 {
		return sdk.Errorf(sdk.Invalid, "image", "%s is no manifest", d)
	}
	mediaType := p.MediaType
	if len(p.Manifests) > 0 {
		for _, m := range p.Manifests {
			if err := c.manifest(ctx, m.Digest, "", depth+1); err != nil {
				return err
			}
		}
		if mediaType == "" {
			mediaType = oci.TypeIndex
		}
	} else {
		for _, l := range append([]oci.Descriptor{p.Config}, p.Layers...) {
			if err := c.blob(ctx, l); err != nil {
				return err
			}
		}
		if mediaType == "" {
			mediaType = oci.TypeManifest
		}
	}
	if ref == "" {
		ref = string(d)
	}
	_, err = c.c.PutManifest(ctx, c.to, ref, mediaType, b)
	return err
}

func (c *copying) blob(ctx context.Context, d oci.Descriptor) error {
	if !oci.ValidDigest(d.Digest) {
		return sdk.Errorf(sdk.Invalid, "image", "%q is no sha256 digest", d.Digest)
	}
	c.total.Add(d.Size)
	if there, err := c.c.HasBlob(ctx, c.to, d.Digest); err != nil || there {
		c.done.Add(d.Size)
		return err
	}
	return c.c.PutBlob(ctx, c.to, d, func() (io.ReadCloser, error) {
		r, err := c.from.blob(ctx, d)
		return counted{r, &c.done}, err
	})
}

type counted struct {
	io.ReadCloser
	n *atomic.Int64
}

// Read implements io.Reader.
func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// copy copies with a line of progress when it takes longer than a second and
// somebody watches.
func (a *app) copy(ctx context.Context, c *copying, tag string) (sdk.Digest, error) {
	if a.quiet || !isTerminal(a.err) {
		return c.run(ctx, tag)
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		shown := false
		for {
			select {
			case <-end:
				if shown {
					fmt.Fprint(a.err, "\r\x1b[K")
				}
				return
			case <-tick.C:
				shown = true
				done, total := c.done.Load(), max(c.total.Load(), 1)
				bar := strings.Repeat("=", int(min(done, total)*30/total))
				fmt.Fprintf(a.err, "\r[%-30s] %s of %s\x1b[K", bar, sdk.FormatBytes(done>>10<<10), sdk.FormatBytes(total>>10<<10))
			}
		}
	}()
	d, err := c.run(ctx, tag)
	close(end)
	<-ended
	return d, err
}
