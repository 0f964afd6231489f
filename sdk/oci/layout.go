package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// maxMeta bounds the indexes, manifests and configurations of a layout.
const maxMeta = 4 << 20

// Layout reads an image layout: a folder, or an archive of one. What it hands
// out is not checked. It may be used by many goroutines at once.
type Layout struct {
	name string
	open func(path string) (io.ReadCloser, int64, error)
	file io.Closer
}

// OpenFolder reads the layout in a folder. Nothing is read yet.
func OpenFolder(dir string) *Layout {
	return &Layout{name: dir, open: func(name string) (io.ReadCloser, int64, error) {
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, 0, err
		}
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fs.ErrInvalid
		}
		if err != nil {
			f.Close()
			return nil, 0, err
		}
		return f, info.Size(), nil
	}}
}

// span is where a file of an archive lies.
type span struct{ at, size int64 }

// maxArchive bounds the entries of an archive.
const maxArchive = 100_000

// OpenArchive reads a layout from a tar file, or what "docker save" wrote. The
// archive itself must not be compressed. Errors: NotFound, Invalid. It is closed
// by Close.
func OpenArchive(file string) (*Layout, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.Errorf(sdk.NotFound, file, "there is no such file")
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, file, "cannot be read: %w", err)
	}
	files, err := spans(f)
	if err != nil {
		f.Close()
		return nil, sdk.Errorf(sdk.Invalid, file, "is no archive of an image: %w", err).
			ToFix("make one with docker save, skopeo or tar of an OCI layout, and do not compress it")
	}
	made := map[string][]byte{}
	l := &Layout{name: file, file: f, open: func(name string) (io.ReadCloser, int64, error) {
		if b, ok := made[name]; ok {
			return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
		}
		s, ok := files[name]
		if !ok {
			return nil, 0, fs.ErrNotExist
		}
		return io.NopCloser(io.NewSectionReader(f, s.at, s.size)), s.size, nil
	}}
	if _, ok := files["index.json"]; !ok {
		if err := l.fromDocker(files, made); err != nil {
			f.Close()
			return nil, err
		}
	}
	return l, nil
}

// spans finds the files of an archive.
func spans(f *os.File) (map[string]span, error) {
	out := map[string]span{}
	links := map[string]string{}
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			out[name] = span{at, h.Size}
		case tar.TypeLink:
			links[name] = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
		case tar.TypeSymlink:
			// Old docker archives link a layer that several images have.
			links[name] = strings.TrimPrefix(path.Join("/", path.Dir(name), h.Linkname), "/")
		}
		if len(out)+len(links) > maxArchive {
			return nil, errors.New("it has too many entries")
		}
	}
	for name, to := range links {
		if s, ok := out[to]; ok {
			out[name] = s
		}
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no files")
	}
	return out, nil
}

// fromDocker makes a layout of what docker save wrote before it wrote layouts.
func (l *Layout) fromDocker(files map[string]span, made map[string][]byte) error {
	var list []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := l.json("manifest.json", &list); err != nil {
		return err
	}
	index := Index{SchemaVersion: 2, MediaType: TypeIndex}
	for _, e := range list {
		raw, err := l.small(e.Config)
		if err != nil {
			return err
		}
		var conf Image
		if err := json.Unmarshal(raw, &conf); err != nil || len(conf.RootFS.DiffIDs) != len(e.Layers) {
			return sdk.Errorf(sdk.Invalid, l.name, "%s does not fit its layers", e.Config)
		}
		m := Manifest{SchemaVersion: 2, MediaType: TypeManifest,
			Config: Descriptor{MediaType: TypeConfig, Digest: DigestOf(raw), Size: int64(len(raw))}}
		made[BlobPath(m.Config.Digest)] = raw
		for i, name := range e.Layers {
			// The layers are not compressed: their digests are those that the
			// configuration lists.
			s, ok := files[path.Clean(name)]
			if d := conf.RootFS.DiffIDs[i]; !ok || !ValidDigest(d) {
				return sdk.Errorf(sdk.Invalid, l.name, "it lacks layer %s", name)
			} else {
				files[BlobPath(d)] = s
				m.Layers = append(m.Layers, Descriptor{MediaType: TypeLayer, Digest: d, Size: s.size})
			}
		}
		b, err := json.Marshal(m)
		if err != nil {
			return sdk.Errorf(sdk.Internal, l.name, "encode: %v", err)
		}
		d := Descriptor{MediaType: TypeManifest, Digest: DigestOf(b), Size: int64(len(b))}
		made[BlobPath(d.Digest)] = b
		for _, t := range append(e.RepoTags, "")[:max(1, len(e.RepoTags))] {
			if i := strings.LastIndexByte(t, ':'); i > strings.LastIndexByte(t, '/') {
				t = t[i+1:]
			}
			d.Annotations = map[string]string{AnnotationTag: t}
			index.Manifests = append(index.Manifests, d)
		}
	}
	b, err := json.Marshal(index)
	made["index.json"] = b
	if err != nil {
		return sdk.Errorf(sdk.Internal, l.name, "encode: %v", err)
	}
	return nil
}

// Close closes an archive.
func (l *Layout) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Index returns what the layout holds. Errors: NotFound, Invalid.
func (l *Layout) Index() (Index, error) {
	var index Index
	return index, l.json("index.json", &index)
}

func (l *Layout) json(name string, v any) error {
	b, err := l.small(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return sdk.Errorf(sdk.Invalid, l.name, "%s is no OCI index: %v", name, err)
	}
	return nil
}

func (l *Layout) small(name string) ([]byte, error) {
	r, size, err := l.open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, sdk.Errorf(sdk.NotFound, l.name, "there is no image layout: it has no %s", name)
	case err != nil:
		return nil, sdk.Errorf(sdk.Unavailable, l.name, "%w", err)
	}
	defer r.Close()
	if size > maxMeta {
		return nil, sdk.Errorf(sdk.Invalid, l.name, "%s is larger than %s", name, sdk.FormatBytes(maxMeta))
	}
	b, err := io.ReadAll(io.LimitReader(r, maxMeta))
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, l.name, "%w", err)
	}
	return b, nil
}

// Find returns the manifest or index under the tag or the digest; with neither,
// the only one or the one tagged latest. Errors: NotFound, Invalid.
func (l *Layout) Find(tag string, digest sdk.Digest) (Descriptor, error) {
	index, err := l.Index()
	if err != nil {
		return Descriptor{}, err
	}
	images := 0
	for _, d := range index.Manifests {
		if d.ArtifactType != TypeSignature {
			images++
		}
	}
	var tags []string
	for _, d := range index.Manifests {
		if d.ArtifactType == TypeSignature && digest != d.Digest {
			continue
		}
		name := d.Annotations[AnnotationTag]
		switch {
		case digest != "" && d.Digest == digest,
			digest == "" && tag != "" && name == tag,
			digest == "" && tag == "" && (name == "latest" || images == 1):
			return d, nil
		}
		tags = append(tags, name)
	}
	if digest != "" {
		// It may lie there without being in the index: under a nested one.
		if r, size, err := l.open(BlobPath(digest)); err == nil {
			r.Close()
			return Descriptor{Digest: digest, Size: size}, nil
		}
		tag = string(digest)
	}
	return Descriptor{}, sdk.Errorf(sdk.NotFound, l.name, "it holds no image %q", tag).
		ToFix("it has: %s", strings.Join(tags, ", "))
}

// Blob opens a blob; digest must be valid. Errors: NotFound, Unavailable.
func (l *Layout) Blob(digest sdk.Digest) (io.ReadCloser, int64, error) {
	r, size, err := l.open(BlobPath(digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, sdk.Errorf(sdk.NotFound, l.name, "it lacks blob %s", digest).
			ToFix("the layout is incomplete: build or copy it again")
	case err != nil:
		return nil, 0, sdk.Errorf(sdk.Unavailable, l.name, "%w", err)
	}
	return r, size, nil
}

// Referrers returns the manifests of the layout's index that refer to the
// subject with this artifact type.
func (l *Layout) Referrers(subject sdk.Digest, artifactType string) ([]Descriptor, error) {
	index, err := l.Index()
	if err != nil {
		return nil, err
	}
	var out []Descriptor
	for _, d := range index.Manifests {
		if d.ArtifactType == artifactType && d.Annotations[AnnotationSubject] == string(subject) {
			out = append(out, d)
		}
	}
	return out, nil
}
