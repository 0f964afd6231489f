package registry

import (
	"encoding/json"
	"errors"
	"io"
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

// Target is what a path of the API is about.
type Target struct {
	Repo string // "" for the API itself
	kind string // "", "_catalog", "tags", "manifests", "blobs", "uploads", "referrers"
	id   string // a tag, a digest, or an upload's id
}

// ParsePath reads a path beginning with "/v2/". ok is false for one that leads
// nowhere.
func ParsePath(path string) (t Target, ok bool) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	switch {
	case !ok:
		return t, false
	case rest == "":
		return t, true
	case rest == "_catalog":
		return Target{kind: "_catalog"}, true
	}
	parts := strings.Split(rest, "/")
	n := len(parts)
	switch {
	case n >= 3 && parts[n-2] == "tags" && parts[n-1] == "list":
		t = Target{kind: "tags"}
		n -= 2
	case n >= 4 && parts[n-3] == "blobs" && parts[n-2] == "uploads":
		t = Target{kind: "uploads", id: parts[n-1]}
		n -= 3
	case n >= 3 && parts[n-2] == "blobs" && parts[n-1] == "uploads":
		t = Target{kind: "uploads"}
		n -= 2
	case n >= 3 && slices.Contains([]string{"manifests", "blobs", "referrers"}, parts[n-2]):
		t = Target{kind: parts[n-2], id: parts[n-1]}
		n -= 2
		if !oci.ValidDigest(sdk.Digest(t.id)) && !(t.kind == "manifests" && registry.ValidTag(t.id)) {
			return t, false
		}
	default:
		return t, false
	}
	t.Repo = strings.Join(parts[:n], "/")
	return t, registry.ValidRepo(t.Repo)
}

// Repo returns the repository that a path is about, "" when it is about none.
func (r *Registry) Repo(path string) string {
	t, ok := ParsePath(path)
	if !ok {
		return ""
	}
	return t.Repo
}

// refusal is an answer that is an error, in the protocol's words.
type refusal struct {
	status     int
	code, text string
}

// Error returns the text.
func (e *refusal) Error() string { return e.text }

func refuse(status int, code, text string) error { return &refusal{status, code, text} }

var errMethod = refuse(http.StatusMethodNotAllowed, "UNSUPPORTED", "this is not done here")

// WriteError answers with an error in the protocol's form.
func WriteError(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": text}}})
}

// ServeHTTP serves one request below /v2/.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	// Whoever sends or takes nothing for a while is cut off.
	c := http.NewResponseController(w)
	q.Body = &patient{q.Body, func() { c.SetReadDeadline(time.Now().Add(r.o.Patience)) }}
	w = &patientWriter{w, func() { c.SetWriteDeadline(time.Now().Add(r.o.Patience)) }}
	err := r.serve(w, q)
	var e *refusal
	switch {
	case err == nil:
	case errors.As(err, &e):
		WriteError(w, e.status, e.code, e.text)
	case full(err):
		WriteError(w, http.StatusInsufficientStorage, "DENIED", "the registry's disk is full")
	case errors.Is(err, fs.ErrNotExist):
		WriteError(w, http.StatusNotFound, "BLOB_UNKNOWN", "there is no such thing here")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, io.ErrUnexpectedEOF):
		WriteError(w, http.StatusRequestTimeout, "BLOB_UPLOAD_INVALID", "the body did not arrive whole")
	default:
		WriteError(w, http.StatusInternalServerError, "UNKNOWN", "an internal error; see the server's log")
	}
}

type patient struct {
	io.ReadCloser
	extend func()
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	p.extend()
	return p.ReadCloser.Read(b)
}

type patientWriter struct {
	http.ResponseWriter
	extend func()
}

// Write implements io.Writer.
func (p *patientWriter) Write(b []byte) (int, error) {
	p.extend()
	return p.ResponseWriter.Write(b)
}

func (r *Registry) serve(w http.ResponseWriter, q *http.Request) error {
	t, ok := ParsePath(q.URL.Path)
	if !ok {
		return refuse(http.StatusNotFound, "NAME_INVALID", "this is no name of a repository, tag or digest")
	}
	read := q.Method == http.MethodGet || q.Method == http.MethodHead
	switch {
	case t.kind == "" && read:
		return answer(w, map[string]string{})
	case t.kind == "_catalog" && read:
		list, err := r.repos()
		if err != nil {
			return err
		}
		return answer(w, map[string][]string{"repositories": append([]string{}, page(w, q, list)...)})
	case t.kind == "tags" && read:
		return r.listTags(w, q, t.Repo)
	case t.kind == "referrers" && read:
		return r.referrers(w, q, t)
	case t.kind == "manifests":
		return r.manifest(w, q, t)
	case t.kind == "blobs" && read:
		return r.getBlob(w, q, t)
	case t.kind == "blobs" && q.Method == http.MethodDelete:
		return r.dropBlob(w, t)
	case t.kind == "uploads":
		return r.upload(w, q, t)
	}
	return errMethod
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// page cuts a list as ?n= and ?last= say, and links to the rest.
func page(w http.ResponseWriter, q *http.Request, list []string) []string {
	slices.Sort(list)
	v := q.URL.Query()
	if last := v.Get("last"); last != "" {
		i, found := slices.BinarySearch(list, last)
		if found {
			i++
		}
		list = list[i:]
	}
	if n, err := strconv.Atoi(v.Get("n")); err == nil && n >= 0 && n < len(list) {
		list = list[:n]
		if n > 0 {
			v.Set("last", list[n-1])
			w.Header().Set("Link", "<"+q.URL.Path+"?"+v.Encode()+`>; rel="next"`)
		}
	}
	return list
}

func (r *Registry) listTags(w http.ResponseWriter, q *http.Request, repo string) error {
	if _, err := os.Stat(r.in(repo, "_manifests")); err != nil {
		return refuse(http.StatusNotFound, "NAME_UNKNOWN", "there is no repository "+repo)
	}
	tags, err := r.tags(repo)
	if err != nil {
		return err
	}
	list := []string{}
	for t := range tags {
		list = append(list, t)
	}
	return answer(w, map[string]any{"name": repo, "tags": page(w, q, list)})
}

func (r *Registry) getBlob(w http.ResponseWriter, q *http.Request, t Target) error {
	d := sdk.Digest(t.id)
	if _, ok := r.has(t.Repo, d); !ok {
		return refuse(http.StatusNotFound, "BLOB_UNKNOWN", "the repository has no blob "+t.id)
	}
	f, err := os.Open(r.blob(d))
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("Docker-Content-Digest", t.id)
	h.Set("Content-Type", "application/octet-stream")
	h.Set("ETag", `"`+t.id+`"`)
	http.ServeContent(w, q, "", time.Time{}, f)
	return nil
}

func (r *Registry) dropBlob(w http.ResponseWriter, t Target) error {
	// The content goes when nothing needs it any more; see Collect.
	r.names.Lock()
	defer r.names.Unlock()
	if err := os.Remove(r.in(t.Repo, "_blobs", hexOf(sdk.Digest(t.id)))); err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}
