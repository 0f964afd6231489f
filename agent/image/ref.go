package image

import (
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

// Ref is a parsed image reference.
type Ref struct {
	// Layout is the layout folder; empty for a registry.
	Layout string
	// Archive is the tar file of a layout, or of docker save.
	Archive string
	// Host and Name say where a registry keeps the image.
	Host, Name string
	// Tag in a layout; "" when there is a digest, or one image only.
	Tag string
	// Digest of the manifest; always set for a registry.
	Digest sdk.Digest
}

// ParseRef reads "oci:FOLDER", "oci-archive:FILE", both with :TAG, @DIGEST or
// neither, or "HOST/NAME@DIGEST". The host "cluster" is the cluster's own
// registry.
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
	kind, folder, local := strings.Cut(rest, ":")
	if local && (kind == "oci" || kind == "oci-archive") {
		if i := strings.LastIndexByte(folder, ':'); i > strings.LastIndexByte(folder, '/') && !pinned {
			folder, r.Tag = folder[:i], folder[i+1:]
		}
		if folder == "" {
			return Ref{}, wrong("the path is missing")
		}
		if kind == "oci" {
			r.Layout = folder
		} else {
			r.Archive = folder
		}
		return r, nil
	}
	host, name, ok := strings.Cut(rest, "/")
	switch {
	case !ok || host == "" || name == "":
		return Ref{}, wrong("the registry's host is missing")
	case pinned && !registry.ValidRepo(name) || strings.ContainsAny(host, "?#% @"):
		return Ref{}, wrong("this is no image name")
	case !pinned:
		return Ref{}, wrong("images of a registry are named by digest, so that a node runs what was checked")
	}
	r.Host, r.Name = host, name
	return r, nil
}
