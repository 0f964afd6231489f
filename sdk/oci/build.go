package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// File is one thing in a layer. Exactly one of Source, Data, Link and Dir is
// what it is; none of them is an empty file.
type File struct {
	Path   string // in the image, absolute or relative to its root
	Source string // file on this machine that it is a copy of
	Data   []byte // or its content itself
	Link   string // or the target of a symbolic link
	Dir    bool   // or a folder
	// Mode are its permission bits; 0: those of Source, else 0644, or 0755 for
	// folders.
	Mode fs.FileMode
	// UID and GID own it.
	UID, GID int
}

// Spec is an image to build: one layer.
type Spec struct {
	Files  []File
	Config Config
	// Platform it is for; empty fields are "linux" and "amd64".
	Platform Platform
}

// epoch is the time of everything in a built image, so that building twice
// gives the same bytes.
var epoch = time.Unix(0, 0).UTC()

// Build writes the image into the layout folder dir under tag, beside what is
// there already, and returns its manifest's digest. Folders that files lie in
// need not be named. Errors: Invalid for a path given twice or leaving the
// root, NotFound for a missing source, Unavailable when dir cannot be written.
func Build(dir, tag string, s Spec) (sdk.Digest, error) {
	if s.Platform.OS == "" {
		s.Platform.OS = "linux"
	}
	if s.Platform.Architecture == "" {
		s.Platform.Architecture = "amd64"
	}
	entries, err := sorted(s.Files)
	if err != nil {
		return "", err
	}
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return "", unavailable(err)
	}
	layer, diff, err := writeLayer(blobs, entries)
	if err != nil {
		return "", err
	}
	config, err := writeJSON(blobs, TypeConfig, Image{Platform: s.Platform, Config: s.Config,
		RootFS: RootFS{Type: "layers", DiffIDs: []sdk.Digest{diff}}})
	if err != nil {
		return "", err
	}
	manifest, err := writeJSON(blobs, TypeManifest, Manifest{SchemaVersion: 2, MediaType: TypeManifest,
		Config: config, Layers: []Descriptor{layer}})
	if err != nil {
		return "", err
	}
	manifest.Platform = &s.Platform
	return manifest.Digest, addToIndex(dir, tag, manifest)
}

// sorted cleans the paths, adds the folders on the way, and sorts.
func sorted(files []File) ([]File, error) {
	have := map[string]bool{}
	var out []File
	for _, f := range files {
		for seg := range strings.SplitSeq(f.Path, "/") {
			if seg == ".." {
				return nil, sdk.Errorf(sdk.Invalid, "image", "path %q leaves the root", f.Path)
			}
		}
		f.Path = strings.TrimPrefix(path.Clean("/"+f.Path), "/")
		if f.Path == "" {
			continue
		}
		if have[f.Path] {
			return nil, sdk.Errorf(sdk.Invalid, "image", "path %q is given twice", f.Path)
		}
		have[f.Path] = true
		out = append(out, f)
	}
	for _, f := range out {
		for p := path.Dir(f.Path); p != "."; p = path.Dir(p) {
			if !have[p] {
				have[p] = true
				out = append(out, File{Path: p, Dir: true})
			}
		}
	}
	slices.SortFunc(out, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// writeLayer writes the gzipped tar and returns it and its uncompressed digest.
func writeLayer(blobs string, files []File) (d Descriptor, diff sdk.Digest, err error) {
	tmp, err := os.CreateTemp(blobs, ".tmp-*")
	if err != nil {
		return d, "", unavailable(err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	packed, plain := sha256.New(), sha256.New()
	gz, err := gzip.NewWriterLevel(io.MultiWriter(tmp, packed), gzip.BestSpeed)
	if err != nil {
		return d, "", err
	}
	tw := tar.NewWriter(io.MultiWriter(gz, plain))
	for _, f := range files {
		if err := writeEntry(tw, f); err != nil {
			return d, "", err
		}
	}
	if err := errors.Join(tw.Close(), gz.Close(), tmp.Chmod(0o644)); err != nil {
		return d, "", unavailable(err)
	}
	info, err := tmp.Stat()
	if err != nil {
		return d, "", unavailable(err)
	}
	d = Descriptor{MediaType: TypeLayerGzip, Size: info.Size(), Digest: sdk.Digest("sha256:" + hex.EncodeToString(packed.Sum(nil)))}
	diff = sdk.Digest("sha256:" + hex.EncodeToString(plain.Sum(nil)))
	if err := os.Rename(tmp.Name(), filepath.Join(blobs, filepath.Base(BlobPath(d.Digest)))); err != nil {
		return d, "", unavailable(err)
	}
	return d, diff, nil
}

func writeEntry(tw *tar.Writer, f File) error {
	h := &tar.Header{Name: f.Path, ModTime: epoch, Uid: f.UID, Gid: f.GID, Mode: int64(f.Mode.Perm()), Format: tar.FormatPAX}
	var body io.Reader = bytes.NewReader(f.Data)
	switch {
	case f.Dir:
		h.Typeflag, h.Name = tar.TypeDir, f.Path+"/"
		if f.Mode == 0 {
			h.Mode = 0o755
		}
		if f.Mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
	case f.Link != "":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
	case f.Source != "":
		src, err := os.Open(f.Source)
		if err != nil {
			return sdk.Errorf(sdk.NotFound, "image", "file for %q: %w", "/"+f.Path, err)
		}
		defer src.Close()
		info, err := src.Stat()
		if err != nil {
			return unavailable(err)
		}
		if !info.Mode().IsRegular() {
			return sdk.Errorf(sdk.Invalid, "image", "%s is no regular file", f.Source)
		}
		h.Typeflag, h.Size, body = tar.TypeReg, info.Size(), src
		if f.Mode == 0 {
			h.Mode = int64(info.Mode().Perm())
		}
	default:
		h.Typeflag, h.Size = tar.TypeReg, int64(len(f.Data))
		if f.Mode == 0 {
			h.Mode = 0o644
		}
	}
	if err := tw.WriteHeader(h); err != nil {
		return sdk.Errorf(sdk.Invalid, "image", "%s: %w", f.Path, err)
	}
	if h.Typeflag == tar.TypeReg {
		if _, err := io.Copy(tw, body); err != nil {
			return unavailable(err)
		}
	}
	return nil
}

func writeJSON(blobs, mediaType string, v any) (Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return Descriptor{}, sdk.Errorf(sdk.Internal, "image", "encode: %v", err)
	}
	d := Descriptor{MediaType: mediaType, Digest: DigestOf(b), Size: int64(len(b))}
	return d, replace(filepath.Join(blobs, filepath.Base(BlobPath(d.Digest))), b)
}

// addToIndex puts the manifest under tag, in place of what had it.
func addToIndex(dir, tag string, m Descriptor) error {
	at := filepath.Join(dir, "index.json")
	index := Index{SchemaVersion: 2, MediaType: TypeIndex}
	if b, err := os.ReadFile(at); err == nil {
		if err := json.Unmarshal(b, &index); err != nil {
			return sdk.Errorf(sdk.Invalid, "image", "%s is no OCI index: %w", at, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return unavailable(err)
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(d Descriptor) bool { return d.Annotations[AnnotationTag] == tag })
	m.Annotations = map[string]string{AnnotationTag: tag}
	index.Manifests = append(index.Manifests, m)
	slices.SortFunc(index.Manifests, func(a, b Descriptor) int {
		return strings.Compare(a.Annotations[AnnotationTag], b.Annotations[AnnotationTag])
	})
	b, err := json.Marshal(index)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "image", "encode: %v", err)
	}
	if err := replace(filepath.Join(dir, LayoutFile), []byte(LayoutText)); err != nil {
		return err
	}
	return replace(at, b)
}

// replace writes the file whole or not at all.
func replace(at string, b []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(at), ".tmp-*")
	if err != nil {
		return unavailable(err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err := errors.Join(err, tmp.Chmod(0o644), tmp.Close()); err != nil {
		return unavailable(err)
	}
	if err := os.Rename(tmp.Name(), at); err != nil {
		return unavailable(err)
	}
	return nil
}

func unavailable(err error) error { return sdk.Errorf(sdk.Unavailable, "image", "write: %w", err) }
