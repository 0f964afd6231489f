package oci

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

func TestBuildIsReproducible(t *testing.T) {
	src := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(src, []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := Spec{
		Files: []File{{Path: "/bin/hello", Source: src}, {Path: "etc/motd", Data: []byte("hi")},
			{Path: "tmp", Dir: true, Mode: 0o777}, {Path: "bin/sh", Link: "hello"}},
		Config: Config{Entrypoint: []string{"/bin/hello"}, Env: []string{"A=b"}},
	}
	a, b := t.TempDir(), t.TempDir()
	d1, err := Build(a, "v1", spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(src, time.Unix(1e9, 0), time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	spec.Files[0], spec.Files[1] = spec.Files[1], spec.Files[0]
	d2, err := Build(b, "v1", spec)
	if err != nil || d1 != d2 {
		t.Fatalf("%s and %s differ (%v)", d1, d2, err)
	}
	if _, err := Build(b, "v2", spec); err != nil {
		t.Fatal(err)
	}
	var index Index
	raw, _ := os.ReadFile(filepath.Join(b, "index.json"))
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) != 2 {
		t.Fatalf("index %s", raw)
	}
	var m Manifest
	raw, _ = os.ReadFile(filepath.Join(b, BlobPath(d1)))
	if DigestOf(raw) != d1 || json.Unmarshal(raw, &m) != nil {
		t.Fatalf("manifest %s", raw)
	}
	f, err := os.Open(filepath.Join(b, BlobPath(m.Layers[0].Digest)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	gz, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	if got, want := strings.Join(names, " "), "bin/ bin/hello bin/sh etc/ etc/motd tmp/"; got != want {
		t.Errorf("layer holds %s, want %s", got, want)
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, tt := range []struct {
		files []File
		kind  sdk.FaultKind
	}{
		{[]File{{Path: "../x"}}, sdk.Invalid},
		{[]File{{Path: "a"}, {Path: "/a"}}, sdk.Invalid},
		{[]File{{Path: "a", Source: "/no/such/file"}}, sdk.NotFound},
	} {
		dir := t.TempDir()
		if _, err := Build(dir, "t", Spec{Files: tt.files}); sdk.KindOf(err) != tt.kind {
			t.Errorf("%+v: %v", tt.files, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
			t.Errorf("%+v: left an index", tt.files)
		}
	}
}
