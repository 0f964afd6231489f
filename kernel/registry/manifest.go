package registry

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

func (r *Registry) manifest(w http.ResponseWriter, q *http.Request, t Target) error {
	switch q.Method {
	case http.MethodGet, http.MethodHead:
		return r.getManifest(w, q, t)
	case http.MethodPut:
		return r.putManifest(w, q, t)
	case http.MethodDelete:
		return r.dropManifest(w, t)
	}
	return errMethod
}

// digestOf follows a tag.
func (r *Registry) digestOf(t Target) (sdk.Digest, error) {
	if oci.ValidDigest(sdk.Digest(t.id)) {
		return sdk.Digest(t.id), nil
	}
	b, err := os.ReadFile(r.in(t.Repo, "_tags", t.id))
	return sdk.Digest(b), err
}

func unknown(t Target, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", t.Repo+" has no "+t.id)
	}
	return err
}

func (r *Registry) getManifest(w http.ResponseWriter, q *http.Request, t Target) error {
	d, err := r.digestOf(t)
	if err != nil {
		return unknown(t, err)
	}
	e, err := r.entry(t.Repo, d)
	if err != nil {
		return unknown(t, err)
	}
	b, err := os.ReadFile(r.blob(d))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", e.MediaType)
	h.Set("Docker-Content-Digest", string(d))
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("ETag", `"`+string(d)+`"`)
	if q.Method == http.MethodGet {
		_, err = w.Write(b)
	}
	return err
}

// putManifest takes a manifest whose parts are here.
func (r *Registry) putManifest(w http.ResponseWriter, q *http.Request, t Target) error {
	b, err := readAll(q.Body, registry.MaxManifest)
	if err != nil {
		return err
	}
	d := oci.DigestOf(b)
	tag := t.id
	if oci.ValidDigest(sdk.Digest(t.id)) {
		if tag = ""; sdk.Digest(t.id) != d {
			return refuse(http.StatusBadRequest, "DIGEST_INVALID", "the content is "+string(d))
		}
	}
	e, err := read(b, q.Header.Get("Content-Type"))
	if err != nil {
		return err
	}
	if r.used.Load()+int64(len(b)) > r.o.MaxBytes {
		return refuse(http.StatusInsufficientStorage, "DENIED", "the registry holds its "+sdk.FormatBytes(r.o.MaxBytes)+" already")
	}
	// From here on nothing of it can be collected until its name is there.
	r.names.RLock()
	defer r.names.RUnlock()
	for _, need := range e.Needs {
		if _, ok := r.has(t.Repo, need); !ok {
			return refuse(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "push its blob "+string(need)+" first")
		}
	}
	for _, hold := range e.Holds {
		if _, err := r.entry(t.Repo, hold); err != nil {
			return refuse(http.StatusBadRequest, "MANIFEST_BLOB_UNKNOWN", "push its manifest "+string(hold)+" first")
		}
	}
	if _, err := r.put(b); err != nil {
		return err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if e.Subject != "" {
		if err := r.write(r.in(t.Repo, "_referrers", hexOf(e.Subject), hexOf(d)), nil); err != nil {
			return err
		}
		w.Header().Set("OCI-Subject", string(e.Subject))
	}
	if err := r.write(r.in(t.Repo, "_manifests", hexOf(d)), text); err != nil {
		return err
	}
	if tag != "" {
		if err := r.write(r.in(t.Repo, "_tags", tag), []byte(d)); err != nil {
			return err
		}
	}
	return created(w, t.Repo, "manifests", d)
}

// read reads what a manifest is made of.
func read(b []byte, contentType string) (*entry, error) {
	var m struct {
		oci.Manifest
		Manifests []oci.Descriptor `json:"manifests"`
	}
	bad := func(why string) (*entry, error) { return nil, refuse(http.StatusBadRequest, "MANIFEST_INVALID", why) }
	if err := json.Unmarshal(b, &m); err != nil {
		return bad("this is no manifest: " + err.Error())
	}
	if m.MediaType == "" {
		m.MediaType, _, _ = strings.Cut(contentType, ";")
	}
	e := &entry{MediaType: m.MediaType, Size: int64(len(b)), Artifact: m.ArtifactType, Notes: m.Annotations}
	switch m.MediaType {
	case oci.TypeIndex, oci.TypeDockerList:
		for _, d := range m.Manifests {
			e.Holds = append(e.Holds, d.Digest)
		}
	case oci.TypeManifest, oci.TypeDockerManifest:
		if e.Artifact == "" {
			e.Artifact = m.Config.MediaType
		}
		for _, d := range append([]oci.Descriptor{m.Config}, m.Layers...) {
			e.Needs = append(e.Needs, d.Digest)
		}
	default:
		return bad("the media type " + strconv.Quote(m.MediaType) + " is not known")
	}
	if m.Subject != nil {
		e.Subject = m.Subject.Digest
	}
	for _, d := range slices.Concat(e.Needs, e.Holds) {
		if !oci.ValidDigest(d) {
			return bad(strconv.Quote(string(d)) + " is no sha256 digest")
		}
	}
	if e.Subject != "" && !oci.ValidDigest(e.Subject) {
		return bad("its subject is no sha256 digest")
	}
	return e, nil
}

// dropManifest removes a tag, or a manifest and the tags on it.
func (r *Registry) dropManifest(w http.ResponseWriter, t Target) error {
	r.names.Lock()
	defer r.names.Unlock()
	if d := sdk.Digest(t.id); oci.ValidDigest(d) {
		if err := r.unlist(t.Repo, d); err != nil {
			return unknown(t, err)
		}
	} else if err := os.Remove(r.in(t.Repo, "_tags", t.id)); err != nil {
		return unknown(t, err)
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// unlist takes a manifest and its tags out of a repository. names is held to
// write.
func (r *Registry) unlist(repo string, d sdk.Digest) error {
	e, err := r.entry(repo, d)
	if err != nil {
		return err
	}
	tags, err := r.tags(repo)
	if err != nil {
		return err
	}
	for tag, to := range tags {
		if to == d {
			if err := os.Remove(r.in(repo, "_tags", tag)); err != nil {
				return err
			}
		}
	}
	if e.Subject != "" {
		if err := os.Remove(r.in(repo, "_referrers", hexOf(e.Subject), hexOf(d))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Remove(r.in(repo, "_manifests", hexOf(d)))
}

func (r *Registry) referrers(w http.ResponseWriter, q *http.Request, t Target) error {
	if !oci.ValidDigest(sdk.Digest(t.id)) {
		return refuse(http.StatusBadRequest, "DIGEST_INVALID", "this is no sha256 digest")
	}
	index := oci.Index{SchemaVersion: 2, MediaType: oci.TypeIndex, Manifests: []oci.Descriptor{}}
	list, err := os.ReadDir(r.in(t.Repo, "_referrers", hexOf(sdk.Digest(t.id))))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	want := q.URL.Query().Get("artifactType")
	for _, f := range list {
		d := sdk.Digest("sha256:" + f.Name())
		e, err := r.entry(t.Repo, d)
		if err != nil || want != "" && e.Artifact != want {
			continue
		}
		index.Manifests = append(index.Manifests, oci.Descriptor{MediaType: e.MediaType, Digest: d, Size: e.Size,
			ArtifactType: e.Artifact, Annotations: e.Notes})
	}
	if want != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	w.Header().Set("Content-Type", oci.TypeIndex)
	return json.NewEncoder(w).Encode(index)
}

// young reports whether a name was made within the time.
func young(at string, d time.Duration) bool {
	info, err := os.Stat(at)
	return err == nil && time.Since(info.ModTime()) < d
}
