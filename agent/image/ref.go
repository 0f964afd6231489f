package image

import (
	"net"
	"path"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// Ref is a parsed image reference.
type Ref struct {
	// Layout is the layout folder; empty for a registry.
	Layout string
	// Host and Name say where a registry keeps the image.
	Host, Name string
	// Tag in a layout; "" when there is a digest, or one image only.
	Tag string
	// Digest of the manifest; always set for a registry.
	Digest sdk.Digest
}

// ParseRef reads "oci:PATH[:TAG]", "oci:PATH@DIGEST" or "HOST/NAME@DIGEST".
// Errors: an *Error with ReasonInvalidTemplate.
func ParseRef(s string) (Ref, error) {
	wrong := func(why string) error {
		return failf(sdk.ReasonInvalidTemplate, sdk.Invalid, "image %q: %s", s, why).
			fix(`write "oci:/folder:tag", "oci:/folder@sha256:…" or "host/name@sha256:…"`)
	}
	rest, digest, pinned := strings.Cut(s, "@")
	if pinned && !oci.ValidDigest(sdk.Digest(digest)) {
		return Ref{}, wrong("what follows @ is no sha256 digest")
	}
	r := Ref{Digest: sdk.Digest(digest)}
	if folder, ok := strings.CutPrefix(rest, "oci:"); ok {
		if i := strings.LastIndexByte(folder, ':'); i > strings.LastIndexByte(folder, '/') && !pinned {
			folder, r.Tag = folder[:i], folder[i+1:]
		}
		if folder == "" {
			return Ref{}, wrong("the folder is missing")
		}
		r.Layout = folder
		return r, nil
	}
	host, name, ok := strings.Cut(rest, "/")
	switch {
	case !ok || host == "" || name == "":
		return Ref{}, wrong("the registry's host is missing")
	case path.Clean("/"+name) != "/"+name || strings.ContainsAny(rest, "?#% "):
		return Ref{}, wrong("this is no image name")
	case !pinned:
		return Ref{}, wrong("images of a registry are named by digest, so that a node runs what was checked")
	}
	r.Host, r.Name = host, name
	return r, nil
}

// loopback reports whether the registry is on this machine.
func (r Ref) loopback() bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return ip != nil && ip.IsLoopback()
}
