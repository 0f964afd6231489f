package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// maxModule bounds a WebAssembly module.
const maxModule = 1 << 30

// ResolveModule returns the file of the WebAssembly module that ref names:
// "file:/PATH" for a file of the node, else an artifact whose one layer is the
// module, in the forms that Resolve takes. The digest is what Sweep knows it by:
// of the artifact's manifest, or of the file. Errors: *Error.
func (s *Store) ResolveModule(ctx context.Context, ref string) (path string, d sdk.Digest, err error) {
	if file, ok := strings.CutPrefix(ref, "file:"); ok {
		d, err := digestFile(file)
		return file, d, err
	}
	img, err := s.resolve(ctx, ref)
	if err != nil {
		return "", "", err
	}
	if img.Module == "" {
		return "", "", failf(sdk.ReasonInvalidTemplate, sdk.Invalid, "%s is a container's image, not a WebAssembly module", ref).
			fix("run it with run: container: image")
	}
	return s.moduleFile(img.Module), img.Digest, nil
}

// digestFile returns the digest of a module that is a file of the node.
func digestFile(file string) (sdk.Digest, error) {
	if !filepath.IsAbs(file) {
		return "", failf(sdk.ReasonInvalidTemplate, sdk.Invalid, "the path %q of the module is relative", file).fix("write the whole path")
	}
	// Anything but a regular file could block the opening.
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", failf(sdk.ReasonImageNotFound, sdk.NotFound, "there is no file %s on this node", file).
			fix("put it there, or push the module with drupe push")
	case err != nil:
		return "", classify(err, "read module")
	case !info.Mode().IsRegular() || info.Size() > maxModule:
		return "", invalid("%s is no regular file of at most %s", file, sdk.FormatBytes(maxModule))
	}
	f, err := os.Open(file)
	if err != nil {
		return "", classify(err, "read module")
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", classify(err, "read module")
	}
	return sdk.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))), nil
}

func (s *Store) moduleFile(d sdk.Digest) string { return filepath.Join(s.dir, "modules", hexOf(d)) }

// fetchModule gets the module of an artifact.
func (s *Store) fetchModule(ctx context.Context, src source, m *oci.Manifest, img *Image) error {
	d := m.Layers[0]
	if !oci.ValidDigest(d.Digest) {
		return invalid("the module's digest %q is no sha256 digest", d.Digest)
	}
	if d.Size <= 0 || d.Size > maxModule {
		return invalid("the module has %d bytes; the most is %s", d.Size, sdk.FormatBytes(maxModule))
	}
	img.Module = d.Digest
	t := s.tally(d)
	stop := report(ctx, []*tally{t})
	defer stop()
	return s.layers.do(ctx, d.Digest, func(ctx context.Context) error {
		final := s.moduleFile(d.Digest)
		if _, err := os.Stat(final); err == nil {
			return nil
		}
		body, err := src.open(ctx, d)
		if err != nil {
			return err
		}
		defer body.Close()
		stop := context.AfterFunc(ctx, func() { body.Close() })
		defer stop()
		f, err := os.CreateTemp(filepath.Join(s.dir, "tmp"), "module-")
		if err != nil {
			return classify(err, "fetch module")
		}
		defer os.Remove(f.Name())
		defer f.Close()
		packed := newCounter(t.through(body), d.Size)
		if _, err := io.Copy(f, packed); err != nil {
			return classify(err, "fetch module")
		}
		if got := packed.digest(); got != d.Digest {
			return wrongDigest(d.Digest, got, d.Size, packed.n)
		}
		if err := errors.Join(f.Chmod(0o444), f.Sync(), os.Rename(f.Name(), final)); err != nil {
			return classify(err, "fetch module")
		}
		return classify(syncDir(filepath.Dir(final)), "fetch module")
	})
}
