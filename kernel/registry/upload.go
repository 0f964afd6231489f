package registry

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

// uploads are the blobs on their way.
type uploads struct {
	mu sync.Mutex
	m  map[string]*upload
}

// upload is one blob on its way. Its lock is held while a request works on it.
type upload struct {
	mu   sync.Mutex
	repo string
	file *os.File
	sum  hash.Hash
	n    int64
	last time.Time
	over bool
}

// idle is how long an upload may rest before others may have its place.
const idle = 10 * time.Minute

func (r *Registry) begin(repo string) (string, *upload, error) {
	r.uploads.mu.Lock()
	defer r.uploads.mu.Unlock()
	if len(r.uploads.m) >= r.o.Uploads {
		for id, u := range r.uploads.m {
			if u.mu.TryLock() {
				if time.Since(u.last) > idle {
					u.end()
					delete(r.uploads.m, id)
				}
				u.mu.Unlock()
			}
		}
		if len(r.uploads.m) >= r.o.Uploads {
			return "", nil, refuse(http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many uploads are open")
		}
	}
	f, err := os.CreateTemp(filepath.Join(r.dir, "uploads"), "blob-")
	if err != nil {
		return "", nil, err
	}
	b := make([]byte, 16)
	rand.Read(b) // it never fails
	id := hex.EncodeToString(b)
	u := &upload{repo: repo, file: f, sum: sha256.New(), last: time.Now()}
	if r.uploads.m == nil {
		r.uploads.m = map[string]*upload{}
	}
	r.uploads.m[id] = u
	return id, u, nil
}

// end gives up the upload's file. The upload's lock is held.
func (u *upload) end() {
	if !u.over {
		u.over = true
		u.file.Close()
		os.Remove(u.file.Name())
	}
}

func (r *Registry) forget(id string, u *upload) {
	u.end()
	r.uploads.mu.Lock()
	defer r.uploads.mu.Unlock()
	delete(r.uploads.m, id)
}

func (r *Registry) upload(w http.ResponseWriter, q *http.Request, t Target) error {
	if t.id == "" {
		if q.Method != http.MethodPost {
			return errMethod
		}
		return r.post(w, q, t)
	}
	r.uploads.mu.Lock()
	u := r.uploads.m[t.id]
	r.uploads.mu.Unlock()
	if u == nil || u.repo != t.Repo {
		return refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "there is no such upload; begin anew")
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over {
		return refuse(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "the upload is over; begin anew")
	}
	u.last = time.Now()
	switch q.Method {
	case http.MethodGet:
		u.where(w, t)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodDelete:
		r.forget(t.id, u)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch:
		if err := u.fits(q); err != nil {
			u.where(w, t)
			return err
		}
		if err := r.receive(u, q.Body); err != nil {
			return err
		}
		u.where(w, t)
		w.WriteHeader(http.StatusAccepted)
		return nil
	case http.MethodPut:
		return r.finish(w, q, t, u)
	}
	return errMethod
}

// post begins an upload, or takes a blob from another repository, or a whole
// one at once.
func (r *Registry) post(w http.ResponseWriter, q *http.Request, t Target) error {
	v := q.URL.Query()
	if d := sdk.Digest(v.Get("mount")); oci.ValidDigest(d) {
		// Without a "from" any repository would do, but that would tell who has
		// what.
		if from := v.Get("from"); registry.ValidRepo(from) && r.allowed(q, from) {
			r.names.RLock()
			defer r.names.RUnlock()
			if _, ok := r.has(from, d); ok {
				if err := r.mark(t.Repo, d); err != nil {
					return err
				}
				return created(w, t.Repo, "blobs", d)
			}
		}
	}
	id, u, err := r.begin(t.Repo)
	if err != nil {
		return err
	}
	t.id = id
	if v.Get("digest") != "" {
		u.mu.Lock()
		defer u.mu.Unlock()
		err := r.finish(w, q, t, u)
		if err != nil {
			r.forget(id, u)
		}
		return err
	}
	u.where(w, t)
	w.Header().Set("OCI-Chunk-Min-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// AllowedFrom is the header by which the caller of ServeHTTP says which other
// repository the client may read, for mounting.
const AllowedFrom = "Drupe-Allowed-From"

func (r *Registry) allowed(q *http.Request, from string) bool {
	return q.Header.Get(AllowedFrom) == from
}

// where says where the upload goes on, and how far it is.
func (u *upload) where(w http.ResponseWriter, t Target) {
	h := w.Header()
	h.Set("Location", "/v2/"+t.Repo+"/blobs/uploads/"+t.id)
	h.Set("Docker-Upload-UUID", t.id)
	h.Set("Range", fmt.Sprintf("0-%d", max(0, u.n-1)))
}

// fits checks that a chunk goes on where the last one ended.
func (u *upload) fits(q *http.Request) error {
	s := q.Header.Get("Content-Range")
	if s == "" {
		return nil
	}
	from, _, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "-")
	if n, err := strconv.ParseInt(from, 10, 64); !ok || err != nil || n != u.n {
		return refuse(http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID", fmt.Sprintf("the next byte wanted is %d", u.n))
	}
	return nil
}

// receive appends a body. What arrived before it broke off stays.
func (r *Registry) receive(u *upload, body io.Reader) error {
	left := min(r.o.MaxBlob-u.n, r.o.MaxBytes-r.used.Load()-u.n)
	n, err := io.Copy(io.MultiWriter(u.file, u.sum), io.LimitReader(body, max(0, left)+1))
	u.n += n
	u.last = time.Now()
	if err == nil && n > left {
		if u.n > r.o.MaxBlob {
			return refuse(http.StatusRequestEntityTooLarge, "SIZE_INVALID", "a blob may have "+sdk.FormatBytes(r.o.MaxBlob))
		}
		return refuse(http.StatusInsufficientStorage, "DENIED", "the registry holds its "+sdk.FormatBytes(r.o.MaxBytes)+" already")
	}
	return err
}

// finish takes the rest, checks the whole and gives it its name.
func (r *Registry) finish(w http.ResponseWriter, q *http.Request, t Target, u *upload) error {
	d := sdk.Digest(q.URL.Query().Get("digest"))
	if !oci.ValidDigest(d) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "only sha256 digests are taken")
	}
	if err := u.fits(q); err != nil {
		return err
	}
	err := r.receive(u, q.Body)
	// A body that broke off, or is too large, ends the upload: its sum is spoilt
	// for another try of the same request.
	defer r.forget(t.id, u)
	if err != nil {
		return err
	}
	if got := sdk.Digest("sha256:" + hex.EncodeToString(u.sum.Sum(nil))); got != d {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "the content is "+string(got)+", not "+string(d))
	}
	r.names.RLock()
	defer r.names.RUnlock()
	if err := errors.Join(r.keep(u.file, d, u.n)); err != nil {
		return err
	}
	if err := r.mark(t.Repo, d); err != nil {
		return err
	}
	return created(w, t.Repo, "blobs", d)
}

func created(w http.ResponseWriter, repo, kind string, d sdk.Digest) error {
	h := w.Header()
	h.Set("Location", "/v2/"+repo+"/"+kind+"/"+string(d))
	h.Set("Docker-Content-Digest", string(d))
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}
