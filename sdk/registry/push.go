package registry

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// HasBlob reports whether the repository has the blob.
func (c *Client) HasBlob(ctx context.Context, n Name, d sdk.Digest) (bool, error) {
	return c.has(ctx, n, "blobs/"+string(d))
}

func (c *Client) has(ctx context.Context, n Name, path string) (bool, error) {
	places, err := c.places(n, true)
	if err != nil {
		return false, err
	}
	resp, err := c.do(ctx, places[0], n, request{method: http.MethodHead, path: path,
		ok: []int{http.StatusOK, http.StatusNotFound}})
	if err != nil {
		return false, err
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK, nil
}

// PutBlob uploads a blob in one piece. open gives its content anew for every
// try.
func (c *Client) PutBlob(ctx context.Context, n Name, d oci.Descriptor, open func() (io.ReadCloser, error)) error {
	places, err := c.places(n, true)
	if err != nil {
		return err
	}
	p := places[0]
	resp, err := c.do(ctx, p, n, request{method: http.MethodPost, path: "blobs/uploads/", ok: []int{http.StatusAccepted}})
	if err != nil {
		return err
	}
	resp.Body.Close()
	at, err := url.Parse(p.base + "/v2/" + p.repo + "/blobs/uploads/")
	if err == nil {
		at, err = at.Parse(resp.Header.Get("Location"))
	}
	if err != nil || resp.Header.Get("Location") == "" {
		return sdk.Errorf(sdk.Invalid, n.String(), "%s does not say where to upload", p.base)
	}
	q := at.Query()
	q.Set("digest", string(d.Digest))
	at.RawQuery = q.Encode()
	resp, err = c.do(ctx, p, n, request{method: http.MethodPut, path: "blobs/" + string(d.Digest), url: at.String(),
		header: http.Header{"Content-Type": {"application/octet-stream"}}, ok: []int{http.StatusCreated},
		body: func() (io.ReadCloser, int64, error) { r, err := open(); return r, d.Size, err }, once: true})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// PutManifest uploads a manifest or index under a tag or its digest, and
// returns its digest.
func (c *Client) PutManifest(ctx context.Context, n Name, ref, mediaType string, body []byte) (sdk.Digest, error) {
	resp, _, err := c.each(ctx, n, request{method: http.MethodPut, path: "manifests/" + ref,
		header: http.Header{"Content-Type": {mediaType}}, ok: []int{http.StatusCreated, http.StatusOK},
		body: func() (io.ReadCloser, int64, error) {
			return io.NopCloser(bytes.NewReader(body)), int64(len(body)), nil
		}})
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return oci.DigestOf(body), nil
}

// Delete removes a tag, or a manifest by its digest. Errors: NotFound.
func (c *Client) Delete(ctx context.Context, n Name, ref string) error {
	resp, _, err := c.each(ctx, n, request{method: http.MethodDelete, path: "manifests/" + ref,
		ok: []int{http.StatusAccepted, http.StatusOK}})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// ParseName reads "HOST/REPO", "HOST/REPO:TAG" and "HOST/REPO@DIGEST"; ref is
// the tag or digest, "" without one. Errors: Invalid.
func ParseName(s string) (n Name, ref string, err error) {
	host, rest, ok := strings.Cut(s, "/")
	repo, digest, pinned := strings.Cut(rest, "@")
	if pinned {
		ref = digest
	} else if i := strings.LastIndexByte(repo, ':'); i >= 0 {
		repo, ref = repo[:i], repo[i+1:]
	}
	n = Name{Host: host, Repo: repo}
	switch {
	case !ok || host == "" || !ValidRepo(repo),
		pinned && !oci.ValidDigest(sdk.Digest(ref)),
		!pinned && ref != "" && !ValidTag(ref),
		!pinned && strings.HasSuffix(s, ":"):
		return n, "", sdk.Errorf(sdk.Invalid, s, "is no name of an image in a registry").
			ToFix("write HOST/NAME:TAG or HOST/NAME@sha256:…; the cluster's own is %s/NAME", ClusterHost)
	}
	return n, ref, nil
}

// ValidRepo reports whether s may name a repository: parts of a-z and 0-9, with
// single dots, one or two underscores or hyphens between, joined by slashes.
func ValidRepo(s string) bool {
	if len(s) == 0 || len(s) > 255 {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if !validPart(part) {
			return false
		}
	}
	return true
}

func validPart(s string) bool {
	run := byte(0) // the separator before
	count := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			run, count = 0, 0
		case c == '.' || c == '_' || c == '-':
			if i == 0 || run != 0 && run != c {
				return false
			}
			run = c
			if count++; c == '.' && count > 1 || c == '_' && count > 2 {
				return false
			}
		default:
			return false
		}
	}
	return s != "" && run == 0
}

// ValidTag reports whether s may be a tag.
func ValidTag(s string) bool {
	if len(s) == 0 || len(s) > 128 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return true
}
