// Package registry is the cluster's own registry: the OCI distribution API 1.1
// over a content-addressed folder.
//
//	blobs/sha256/HEX            content, manifests too; every byte is checked
//	                            before the name appears
//	repos/NAME/_blobs/HEX       the repository may be asked for this blob
//	repos/NAME/_manifests/HEX   what the manifest is, as JSON
//	repos/NAME/_tags/TAG        the digest it stands for
//	repos/NAME/_referrers/HEX/HEX  a manifest that refers to the first one
//	uploads/                    what is on its way; emptied at start
//
// Names appear by one rename after their content is on disk, so a crash leaves
// whole things or none. Names of repositories cannot begin with an underscore
// in any part, nor hold dots alone, so no path leads out of the folder.
//
// Who may do what is decided before a request comes here.
package registry

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// Options are a Registry's settings; the zero value is fine.
type Options struct {
	// MaxBytes bounds all content together; 0: 256 GiB.
	MaxBytes int64
	// MaxBlob bounds one blob; 0: 32 GiB.
	MaxBlob int64
	// Uploads bounds how many are open at a time; 0: 64.
	Uploads int
	// Patience is how long a client may send or take nothing; 0: 30 s.
	Patience time.Duration
	// Grace is how long Collect keeps what nothing needs: its reason may be on
	// the way; 0: an hour.
	Grace time.Duration
	// Live returns the digests of manifests that are in use whatever the tags
	// say; nil: none.
	Live func() []sdk.Digest
}

// Registry keeps content in one folder. It is an http.Handler. Its methods may
// be called concurrently.
type Registry struct {
	dir string
	o   Options
	// names is held to read while names are made, and to write while Collect
	// takes some away.
	names   sync.RWMutex
	used    atomic.Int64 // bytes in blobs
	uploads uploads
}

// Open opens or makes the registry in dir. One process uses a dir at a time.
func Open(dir string, o Options) (*Registry, error) {
	set(&o.MaxBytes, 256<<30)
	set(&o.MaxBlob, 32<<30)
	set(&o.Uploads, 64)
	set(&o.Patience, 30*time.Second)
	set(&o.Grace, time.Hour)
	r := &Registry{dir: dir, o: o}
	if err := os.RemoveAll(filepath.Join(dir, "uploads")); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, dir, "%w", err)
	}
	for _, sub := range []string{"blobs/sha256", "repos", "uploads"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, sdk.Errorf(sdk.Unavailable, dir, "the registry cannot be made: %w", err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "blobs/sha256"))
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, dir, "%w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			r.used.Add(info.Size())
		}
	}
	return r, nil
}

func set[T int | int64 | time.Duration](v *T, to T) {
	if *v <= 0 {
		*v = to
	}
}

func hexOf(d sdk.Digest) string { return strings.TrimPrefix(string(d), "sha256:") }

func (r *Registry) blob(d sdk.Digest) string {
	return filepath.Join(r.dir, "blobs/sha256", hexOf(d))
}

// in is a path in a repository, whose name was checked.
func (r *Registry) in(repo string, parts ...string) string {
	return filepath.Join(append([]string{r.dir, "repos", filepath.FromSlash(repo)}, parts...)...)
}

// entry is what a repository knows of one of its manifests.
type entry struct {
	MediaType string            `json:"mediaType"`
	Size      int64             `json:"size"`
	Artifact  string            `json:"artifactType,omitempty"`
	Subject   sdk.Digest        `json:"subject,omitempty"`
	Notes     map[string]string `json:"annotations,omitempty"`
	// Needs are the blobs, Holds the manifests it is made of.
	Needs []sdk.Digest `json:"needs,omitempty"`
	Holds []sdk.Digest `json:"holds,omitempty"`
}

func (r *Registry) entry(repo string, d sdk.Digest) (*entry, error) {
	b, err := os.ReadFile(r.in(repo, "_manifests", hexOf(d)))
	if err != nil {
		return nil, err
	}
	var e entry
	return &e, json.Unmarshal(b, &e)
}

// has reports whether the repository may be asked for the blob and it is there,
// and keeps it from being collected for a while.
func (r *Registry) has(repo string, d sdk.Digest) (size int64, ok bool) {
	if _, err := os.Stat(r.in(repo, "_blobs", hexOf(d))); err != nil {
		return 0, false
	}
	info, err := os.Stat(r.blob(d))
	if err != nil {
		return 0, false
	}
	now := time.Now()
	os.Chtimes(r.blob(d), now, now) // it only prolongs the blob's life
	return info.Size(), true
}

// write makes a small file whole or not at all.
func (r *Registry) write(at string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Join(r.dir, "uploads"), "name-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), at); err != nil {
		return err
	}
	return syncDir(filepath.Dir(at))
}

// keep gives content that was checked its name. The file at tmp goes.
func (r *Registry) keep(tmp *os.File, d sdk.Digest, size int64) error {
	if err := tmp.Sync(); err != nil {
		return err
	}
	at := r.blob(d)
	if _, err := os.Stat(at); err == nil {
		now := time.Now()
		return os.Chtimes(at, now, now)
	}
	if err := os.Rename(tmp.Name(), at); err != nil {
		return err
	}
	r.used.Add(size)
	return syncDir(filepath.Dir(at))
}

// mark lets the repository be asked for the blob.
func (r *Registry) mark(repo string, d sdk.Digest) error {
	return r.write(r.in(repo, "_blobs", hexOf(d)), nil)
}

// put keeps small content.
func (r *Registry) put(b []byte) (sdk.Digest, error) {
	d := oci.DigestOf(b)
	f, err := os.CreateTemp(filepath.Join(r.dir, "uploads"), "blob-")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(b); err != nil {
		return "", err
	}
	return d, r.keep(f, d, int64(len(b)))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// repos lists the repositories that hold a manifest.
func (r *Registry) repos() ([]string, error) {
	root := filepath.Join(r.dir, "repos")
	var out []string
	err := filepath.WalkDir(root, func(at string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || at == root {
			return err
		}
		if e.Name() == "_manifests" {
			if list, err := os.ReadDir(at); err != nil || len(list) == 0 {
				return err
			}
			name, err := filepath.Rel(root, filepath.Dir(at))
			out = append(out, filepath.ToSlash(name))
			return err
		}
		if strings.HasPrefix(e.Name(), "_") {
			return filepath.SkipDir
		}
		return nil
	})
	return out, err
}

// tags returns what the repository's tags stand for.
func (r *Registry) tags(repo string) (map[string]sdk.Digest, error) {
	out := map[string]sdk.Digest{}
	entries, err := os.ReadDir(r.in(repo, "_tags"))
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b, err := os.ReadFile(r.in(repo, "_tags", e.Name()))
		if err != nil {
			return nil, err
		}
		if oci.ValidDigest(sdk.Digest(b)) {
			out[e.Name()] = sdk.Digest(b)
		}
	}
	return out, nil
}

// full reports whether err says that there is no space.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// readAll reads a body of at most limit bytes.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, refuse(413, "SIZE_INVALID", "larger than "+sdk.FormatBytes(limit))
	}
	return b, err
}
