package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// MaxManifest bounds a manifest, in bytes.
const MaxManifest = 4 << 20

var acceptManifests = strings.Join([]string{oci.TypeManifest, oci.TypeIndex, oci.TypeDockerManifest, oci.TypeDockerList}, ", ")

// Manifest returns a manifest or index, by tag or digest, and its media type.
// With a digest, the content is checked.
func (c *Client) Manifest(ctx context.Context, n Name, ref string) (body []byte, mediaType string, err error) {
	resp, p, err := c.each(ctx, n, request{method: http.MethodGet, path: "manifests/" + ref,
		header: http.Header{"Accept": {acceptManifests}}, ok: []int{http.StatusOK}})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err = c.readAll(resp.Body, MaxManifest)
	if err != nil {
		return nil, "", about(n, p, err)
	}
	if oci.ValidDigest(sdk.Digest(ref)) && oci.DigestOf(body) != sdk.Digest(ref) {
		return nil, "", sdk.Errorf(sdk.Corrupt, n.String(), "content of %s does not match: it is %s", ref, oci.DigestOf(body)).
			ToFix("the copy is damaged or was tampered with: push the image again")
	}
	return body, resp.Header.Get("Content-Type"), nil
}

func about(n Name, p place, err error) error {
	var f *sdk.Fault
	if errors.As(err, &f) {
		return f
	}
	return sdk.Errorf(sdk.Unavailable, n.String(), "reading from %s broke off: %w", p.base, err)
}

// readAll reads a small body whole.
func (c *Client) readAll(body io.ReadCloser, limit int64) ([]byte, error) {
	w := c.watch(body)
	defer w.Close()
	b, err := io.ReadAll(io.LimitReader(w, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, sdk.Errorf(sdk.TooLarge, "registry", "an answer is larger than %s", sdk.FormatBytes(limit))
	}
	return b, nil
}

// Tags returns the tags of a repository, sorted as the registry does.
func (c *Client) Tags(ctx context.Context, n Name) ([]string, error) {
	var out struct {
		Tags []string `json:"tags"`
	}
	return out.Tags, c.list(ctx, n, "tags/list", &out)
}

// Catalog returns the repositories of a registry that tells them.
func (c *Client) Catalog(ctx context.Context, host string) ([]string, error) {
	n := Name{Host: host}
	places, err := c.places(n, true)
	if err != nil {
		return nil, err
	}
	p := places[0]
	resp, err := c.do(ctx, p, n, request{method: http.MethodGet, url: p.base + "/v2/_catalog", ok: []int{http.StatusOK}})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := c.readAll(resp.Body, MaxManifest)
	if err != nil {
		return nil, about(n, p, err)
	}
	var out struct {
		Repositories []string `json:"repositories"`
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, host, "its list is not understood: %v", err)
	}
	return out.Repositories, nil
}

func (c *Client) list(ctx context.Context, n Name, path string, out any) error {
	resp, p, err := c.each(ctx, n, request{method: http.MethodGet, path: path, ok: []int{http.StatusOK}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := c.readAll(resp.Body, MaxManifest)
	if err != nil {
		return about(n, p, err)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return sdk.Errorf(sdk.Invalid, n.String(), "the answer of %s is not understood: %v", p.base, err)
	}
	return nil
}

// Referrers returns what refers to the manifest, of that artifact type. A
// registry that does not know the question is asked for the tag that stands in
// for it.
func (c *Client) Referrers(ctx context.Context, n Name, d sdk.Digest, artifactType string) ([]oci.Descriptor, error) {
	var index oci.Index
	err := c.list(ctx, n, "referrers/"+string(d)+"?artifactType="+url.QueryEscape(artifactType), &index)
	if sdk.KindOf(err) == sdk.NotFound {
		body, _, merr := c.Manifest(ctx, n, strings.Replace(string(d), ":", "-", 1))
		if sdk.KindOf(merr) == sdk.NotFound {
			return nil, nil
		}
		if err = merr; err == nil {
			if jerr := json.Unmarshal(body, &index); jerr != nil {
				err = sdk.Errorf(sdk.Invalid, n.String(), "its list of referrers is not understood: %v", jerr)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	var out []oci.Descriptor
	for _, m := range index.Manifests {
		if m.ArtifactType == artifactType {
			out = append(out, m)
		}
	}
	return out, nil
}

// Blob reads a blob. A transfer that breaks off goes on where it was; what is
// read is not checked. The caller closes it.
func (c *Client) Blob(ctx context.Context, n Name, d oci.Descriptor) (io.ReadCloser, error) {
	places, err := c.places(n, false)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &blob{c: c, ctx: ctx, cancel: cancel, n: n, d: d, places: places}
	if err := b.open(); err != nil {
		cancel()
		return nil, err
	}
	return b, nil
}

// blob is a blob being read.
type blob struct {
	c      *Client
	ctx    context.Context
	cancel context.CancelFunc
	n      Name
	d      oci.Descriptor
	places []place // still to be tried, the present one first
	body   io.ReadCloser
	at     int64 // bytes handed out
	mark   int64 // at when it was last opened
	broken int   // times in a row it broke off with nothing gained
}

// open asks for what is still missing, of one place after the other.
func (b *blob) open() error {
	b.mark = b.at
	for {
		p := b.places[0]
		r := request{method: http.MethodGet, path: "blobs/" + string(b.d.Digest), ok: []int{http.StatusOK}}
		if b.at > 0 {
			r.header = http.Header{"Range": {fmt.Sprintf("bytes=%d-", b.at)}}
			r.ok = []int{http.StatusOK, http.StatusPartialContent}
		}
		resp, err := b.c.do(b.ctx, p, b.n, r)
		if err == nil {
			err = b.take(resp)
		}
		if err == nil || b.ctx.Err() != nil || len(b.places) == 1 {
			return err
		}
		b.places = b.places[1:]
	}
}

// take begins with an answer, and skips what a registry without ranges sends
// again.
func (b *blob) take(resp *http.Response) error {
	b.body = b.c.watch(resp.Body)
	if resp.StatusCode == http.StatusPartialContent {
		var from int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != b.at {
			b.body.Close()
			return sdk.Errorf(sdk.Invalid, b.n.String(), "asked for a blob from byte %d, the registry sends %q", b.at, resp.Header.Get("Content-Range"))
		}
		return nil
	}
	if b.at > 0 {
		if _, err := io.CopyN(io.Discard, b.body, b.at); err != nil {
			b.body.Close()
			return sdk.Errorf(sdk.Unavailable, b.n.String(), "the transfer cannot go on: %w", err)
		}
	}
	return nil
}

// Read implements io.Reader.
func (b *blob) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.at += int64(n)
		short := err == io.EOF && b.d.Size > 0 && b.at < b.d.Size
		if n > 0 || err == nil || err == io.EOF && !short {
			if err != io.EOF || short {
				err = nil // told at the next Read
			}
			return n, err
		}
		if b.ctx.Err() != nil {
			return 0, b.ctx.Err()
		}
		if b.at-b.mark >= b.c.o.MinBytes {
			b.broken = 0
		}
		if b.broken++; b.broken >= b.c.o.Tries {
			if short {
				return 0, io.ErrUnexpectedEOF
			}
			return 0, sdk.Errorf(sdk.Unavailable, b.n.String(), "the transfer of %s broke off at byte %d: %w", b.d.Digest, b.at, plainError(err))
		}
		b.body.Close()
		select {
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		case <-time.After(b.c.o.Pause << (b.broken - 1)):
		}
		if err := b.open(); err != nil {
			return 0, err
		}
	}
}

// Close ends the transfer.
func (b *blob) Close() error {
	b.cancel()
	return b.body.Close()
}

// watched is a body that fails when waiting for it brings too little. Time in
// which nobody reads does not count.
type watched struct {
	io.ReadCloser
	stall  time.Duration
	least  int64
	n      int64         // bytes since waited was 0
	waited time.Duration // in Read
}

func (c *Client) watch(body io.ReadCloser) io.ReadCloser {
	return &watched{ReadCloser: body, stall: c.o.Stall, least: c.o.MinBytes}
}

var errSlow = errors.New("it sends next to nothing")

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	begin := time.Now()
	var slow atomic.Bool
	timer := time.AfterFunc(w.stall-w.waited, func() {
		slow.Store(true)
		w.ReadCloser.Close()
	})
	n, err := w.ReadCloser.Read(p)
	timer.Stop()
	w.n += int64(n)
	if w.waited += time.Since(begin); w.waited >= w.stall {
		if w.n < w.least {
			return n, errSlow
		}
		w.n, w.waited = 0, 0
	}
	if err != nil && err != io.EOF && slow.Load() {
		err = errSlow
	}
	return n, err
}
