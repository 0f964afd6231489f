package image

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// signLayout puts a signature of the manifest into the layout.
func signLayout(t *testing.T, dir string, private []byte, d sdk.Digest) {
	t.Helper()
	key, err := oci.PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := oci.Sign(key, oci.Descriptor{MediaType: oci.TypeManifest, Digest: d})
	if err != nil {
		t.Fatal(err)
	}
	at := oci.DigestOf(m)
	os.WriteFile(filepath.Join(dir, oci.BlobPath(at)), m, 0o644)
	var index oci.Index
	file := filepath.Join(dir, "index.json")
	b, _ := os.ReadFile(file)
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	index.Manifests = append(index.Manifests, oci.Descriptor{MediaType: oci.TypeManifest, Digest: at, Size: int64(len(m)),
		ArtifactType: oci.TypeSignature, Annotations: map[string]string{oci.AnnotationSubject: string(d)}})
	b, _ = json.Marshal(index)
	os.WriteFile(file, b, 0o644)
}

// TestSigned: only what an accepted key signed is fetched, also when it was here
// before signatures were wanted.
func TestSigned(t *testing.T) {
	needRoot(t)
	private, public, err := oci.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := oci.PublicKeys(public)
	foreign, _, _ := oci.NewKey()
	dir, d, _ := lay(t, gz, archive(t, entry{name: "bin/x", body: "x"}))
	s := store(t)
	if _, err := s.Resolve(t.Context(), "oci:"+dir); err != nil {
		t.Fatal(err)
	}
	s.verify = Verify{Keys: keys}
	_, err = s.Resolve(t.Context(), "oci:"+dir)
	check(t, err, sdk.ReasonImageUnsigned, "no signatures")
	signLayout(t, dir, foreign, d)
	_, err = s.Resolve(t.Context(), "oci:"+dir)
	check(t, err, sdk.ReasonImageUnsigned, "none of its 1 signatures")
	signLayout(t, dir, private, d)
	if _, err := s.Resolve(t.Context(), "oci:"+dir); err != nil {
		t.Fatal(err)
	}
	// A signature of another image is none of this one.
	dir2, d2, _ := lay(t, gz, archive(t, entry{name: "bin/y", body: "y"}))
	signLayout(t, dir2, private, d)
	_, err = s.Resolve(t.Context(), "oci:"+dir2+"@"+string(d2))
	check(t, err, sdk.ReasonImageUnsigned, "")
}

func TestVerifyProgram(t *testing.T) {
	needRoot(t)
	dir, d, _ := lay(t, gz, archive(t, entry{name: "bin/x", body: "x"}))
	program := filepath.Join(t.TempDir(), "verify")
	script := "#!/bin/sh\ntest -s \"$3\" && test \"$2\" = " + string(d) + " || exit 3\ncase \"$1\" in *:v1) exit 0;; esac\necho not this one >&2\nexit 1\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := store(t)
	s.verify = Verify{Program: program}
	_, err := s.Resolve(t.Context(), "oci:"+dir)
	check(t, err, sdk.ReasonImageUnsigned, "not this one")
	leftovers(t, s)
	if _, err := s.Resolve(t.Context(), "oci:"+dir+":v1"); err != nil {
		t.Fatal(err)
	}
}
