package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// makeImage makes a broken image: one with a layer that is "truncated", with a
// layer "flipped" in one bit, or with an entry "climbing" out of its root.
func makeImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: image KIND FOLDER")
	}
	dir := ts.MkAbs(args[1])
	good := oci.Spec{Files: []oci.File{{Path: "/bin/x", Data: bytes.Repeat([]byte("something "), 1000), Mode: 0o755}},
		Config: oci.Config{Entrypoint: []string{"/bin/x"}}}
	digest, err := oci.Build(dir, "latest", good)
	ts.Check(err)
	var m oci.Manifest
	b, err := os.ReadFile(filepath.Join(dir, oci.BlobPath(digest)))
	ts.Check(err)
	ts.Check(json.Unmarshal(b, &m))
	layer := filepath.Join(dir, oci.BlobPath(m.Layers[0].Digest))
	content, err := os.ReadFile(layer)
	ts.Check(err)
	switch args[0] {
	case "truncated":
		content = content[:len(content)/2]
	case "flipped":
		content[len(content)/2] ^= 1
	case "climbing":
		climbing(ts, dir, m)
		return
	default:
		ts.Fatalf("there is no kind of image %q", args[0])
	}
	ts.Check(os.WriteFile(layer, content, 0o644))
}

// climbing replaces the image of a layout by one whose layer climbs out of its
// root, with all digests right.
func climbing(ts *testscript.TestScript, dir string, m oci.Manifest) {
	var plain, packed bytes.Buffer
	w := tar.NewWriter(&plain)
	ts.Check(w.WriteHeader(&tar.Header{Name: "../../../../escaped", Typeflag: tar.TypeReg, Mode: 0o644, Size: 3}))
	_, err := w.Write([]byte("out"))
	ts.Check(err)
	ts.Check(w.Close())
	z := gzip.NewWriter(&packed)
	_, err = z.Write(plain.Bytes())
	ts.Check(err)
	ts.Check(z.Close())

	put := func(b []byte) (sdk.Digest, int64) {
		d := oci.DigestOf(b)
		ts.Check(os.WriteFile(filepath.Join(dir, oci.BlobPath(d)), b, 0o644))
		return d, int64(len(b))
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		ts.Check(err)
		return b
	}
	var config oci.Image
	b, err := os.ReadFile(filepath.Join(dir, oci.BlobPath(m.Config.Digest)))
	ts.Check(err)
	ts.Check(json.Unmarshal(b, &config))
	config.RootFS.DiffIDs = []sdk.Digest{oci.DigestOf(plain.Bytes())}
	m.Config.Digest, m.Config.Size = put(encode(config))
	m.Layers[0].Digest, m.Layers[0].Size = put(packed.Bytes())
	var index oci.Index
	at := filepath.Join(dir, "index.json")
	b, err = os.ReadFile(at)
	ts.Check(err)
	ts.Check(json.Unmarshal(b, &index))
	index.Manifests[0].Digest, index.Manifests[0].Size = put(encode(m))
	ts.Check(os.WriteFile(at, encode(index), 0o644))
}
