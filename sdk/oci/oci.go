// Package oci holds the shapes of OCI images as far as Drupe reads and writes
// them, and builds small images without a container engine.
//
// The shapes follow the OCI image specification 1.1. Build writes a layout
// folder whose bytes depend on nothing but its input, so the same sources give
// the same digests on every machine.
package oci

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Media types.
const (
	TypeIndex     = "application/vnd.oci.image.index.v1+json"
	TypeManifest  = "application/vnd.oci.image.manifest.v1+json"
	TypeConfig    = "application/vnd.oci.image.config.v1+json"
	TypeLayer     = "application/vnd.oci.image.layer.v1.tar"
	TypeLayerGzip = "application/vnd.oci.image.layer.v1.tar+gzip"
	TypeLayerZstd = "application/vnd.oci.image.layer.v1.tar+zstd"

	// What other tools name the same shapes.
	TypeDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	TypeDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"

	// TypeWasm is the media type of a layer that is a WebAssembly module.
	TypeWasm = "application/wasm"
	// TypeEmpty is the configuration of an artifact that has none; its content
	// is EmptyJSON.
	TypeEmpty = "application/vnd.oci.empty.v1+json"
)

// EmptyJSON is the content of a configuration of TypeEmpty.
const EmptyJSON = "{}"

// AnnotationTag names a manifest in a layout's index.
const AnnotationTag = "org.opencontainers.image.ref.name"

// LayoutFile marks a folder as an image layout; LayoutText is what it holds.
const (
	LayoutFile = "oci-layout"
	LayoutText = `{"imageLayoutVersion":"1.0.0"}`
)

// Platform is what an image runs on.
type Platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// Descriptor points at content.
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      sdk.Digest        `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *Platform         `json:"platform,omitempty"`
	// ArtifactType says in a list of referrers what refers.
	ArtifactType string `json:"artifactType,omitempty"`
}

// Index lists manifests.
type Index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Manifests     []Descriptor `json:"manifests"`
}

// Manifest is one image: its configuration and its layers, lowest first.
type Manifest struct {
	SchemaVersion int    `json:"schemaVersion"`
	MediaType     string `json:"mediaType,omitempty"`
	// ArtifactType is what it is when it is no image.
	ArtifactType string       `json:"artifactType,omitempty"`
	Config       Descriptor   `json:"config"`
	Layers       []Descriptor `json:"layers"`
	// Subject is the manifest that this one says something about.
	Subject     *Descriptor       `json:"subject,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Image is the configuration blob.
type Image struct {
	Platform
	Config Config `json:"config"`
	RootFS RootFS `json:"rootfs"`
}

// Config is how an image wants to be run.
type Config struct {
	User       string            `json:"User,omitempty"`
	Env        []string          `json:"Env,omitempty"`
	Entrypoint []string          `json:"Entrypoint,omitempty"`
	Cmd        []string          `json:"Cmd,omitempty"`
	WorkingDir string            `json:"WorkingDir,omitempty"`
	StopSignal string            `json:"StopSignal,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
}

// RootFS lists the digests of the uncompressed layers.
type RootFS struct {
	Type    string       `json:"type"`
	DiffIDs []sdk.Digest `json:"diff_ids"`
}

// DigestOf returns the content address of b.
func DigestOf(b []byte) sdk.Digest {
	sum := sha256.Sum256(b)
	return sdk.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// ValidDigest reports whether d is "sha256:" and 64 lower-case hex digits.
func ValidDigest(d sdk.Digest) bool {
	hexa, ok := strings.CutPrefix(string(d), "sha256:")
	if !ok || len(hexa) != 64 {
		return false
	}
	for i := range len(hexa) {
		if c := hexa[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

// BlobPath returns where a layout keeps the blob, relative to the layout. d
// must be valid.
func BlobPath(d sdk.Digest) string {
	return "blobs/sha256/" + strings.TrimPrefix(string(d), "sha256:")
}
