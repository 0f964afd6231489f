package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

type entry struct {
	name, link, body string
	kind             byte
	attrs            map[string]string
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: 0o755, Size: int64(len(e.body)), PAXRecords: e.attrs}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		tw.Write([]byte(e.body))
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zst(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

// lay writes a layout holding the layers and returns it and the manifest.
func lay(t *testing.T, pack func([]byte) []byte, layers ...[]byte) (dir string, digest sdk.Digest, blobs []sdk.Digest) {
	t.Helper()
	dir = t.TempDir()
	os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755)
	put := func(b []byte, mt string) oci.Descriptor {
		d := oci.Descriptor{MediaType: mt, Digest: oci.DigestOf(b), Size: int64(len(b))}
		os.WriteFile(filepath.Join(dir, oci.BlobPath(d.Digest)), b, 0o644)
		return d
	}
	conf := oci.Image{Config: oci.Config{Entrypoint: []string{"/bin/x"}, StopSignal: "SIGINT"}, RootFS: oci.RootFS{Type: "layers"}}
	m := oci.Manifest{SchemaVersion: 2, MediaType: oci.TypeManifest}
	for _, l := range layers {
		d := put(pack(l), oci.TypeLayer)
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, oci.DigestOf(l))
		m.Layers = append(m.Layers, d)
		blobs = append(blobs, d.Digest)
	}
	b, _ := json.Marshal(conf)
	m.Config = put(b, oci.TypeConfig)
	b, _ = json.Marshal(m)
	d := put(b, oci.TypeManifest)
	d.Annotations = map[string]string{oci.AnnotationTag: "v1"}
	b, _ = json.Marshal(oci.Index{SchemaVersion: 2, Manifests: []oci.Descriptor{d}})
	os.WriteFile(filepath.Join(dir, "index.json"), b, 0o644)
	return dir, d.Digest, blobs
}

func plain(b []byte) []byte { return b }

func store(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// leftovers fails when anything half-done is visible.
func leftovers(t *testing.T, s *Store) {
	t.Helper()
	for _, sub := range []string{"layers", "images", "tmp"} {
		if left, _ := os.ReadDir(filepath.Join(s.dir, sub)); len(left) > 0 {
			t.Errorf("left in %s: %v", sub, left)
		}
	}
}

func needRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: owners and whiteouts")
	}
}

func TestResolve(t *testing.T) {
	needRoot(t)
	for name, pack := range map[string]func([]byte) []byte{"tar": plain, "gzip": gz, "zstd": zst} {
		t.Run(name, func(t *testing.T) {
			dir, digest, _ := lay(t, pack,
				archive(t, entry{name: "bin/x", body: "one"}, entry{name: "etc", kind: tar.TypeDir}, entry{name: "etc/old", body: "o"},
					entry{name: "usr/lib/", kind: tar.TypeDir}, entry{name: "lib", link: "usr/lib", kind: tar.TypeSymlink},
					entry{name: "lib/so", body: "through an inner link"}, entry{name: "etc/mtab", link: "/proc/mounts", kind: tar.TypeSymlink},
					entry{name: "bin/y", link: "bin/x", kind: tar.TypeLink}, entry{name: "dev/null", kind: tar.TypeChar}),
				archive(t, entry{name: "etc/.wh.old"}, entry{name: "usr/lib/.wh..wh..opq"}, entry{name: "bin/z", body: "z"}))
			s := store(t)
			for _, ref := range []string{"oci:" + dir, "oci:" + dir + ":v1", "oci:" + dir + "@" + string(digest)} {
				img, err := s.Resolve(t.Context(), ref)
				if err != nil {
					t.Fatal(err)
				}
				if img.Digest != digest || len(img.Layers) != 2 || img.Config.Entrypoint[0] != "/bin/x" || img.Config.StopSignal != "SIGINT" {
					t.Fatalf("%+v", img)
				}
			}
			img, _ := s.Resolve(t.Context(), "oci:"+dir)
			low, high := img.Layers[0], img.Layers[1]
			for path, want := range map[string]string{low + "/bin/x": "one", low + "/bin/y": "one", low + "/usr/lib/so": "through an inner link", high + "/bin/z": "z"} {
				if b, err := os.ReadFile(path); err != nil || string(b) != want {
					t.Errorf("%s: %q, %v", path, b, err)
				}
			}
			if l, _ := os.Readlink(low + "/etc/mtab"); l != "/proc/mounts" {
				t.Errorf("absolute link became %q", l)
			}
			var st syscall.Stat_t
			if err := syscall.Lstat(high+"/etc/old", &st); err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFCHR || st.Rdev != 0 {
				t.Errorf("no whiteout: %v, mode %o", err, st.Mode)
			}
			buf := make([]byte, 8)
			if n, err := unix.Getxattr(high+"/usr/lib", opaqueAttr, buf); err != nil || string(buf[:n]) != "y" {
				t.Errorf("folder is not opaque: %v", err)
			}
			if _, err := os.Lstat(low + "/dev/null"); err == nil {
				t.Error("a device node was made")
			}
		})
	}
}

func TestReplacedFolderHidesTheOneBelow(t *testing.T) {
	needRoot(t)
	for name, entries := range map[string][]entry{
		"whiteout first": {{name: ".wh.data"}, {name: "data/", kind: tar.TypeDir}},
		"whiteout last":  {{name: "data/", kind: tar.TypeDir}, {name: ".wh.data"}},
	} {
		dir, _, _ := lay(t, plain, archive(t, entries...))
		img, err := store(t).Resolve(t.Context(), "oci:"+dir)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		buf := make([]byte, 8)
		if n, err := unix.Getxattr(img.Layers[0]+"/data", opaqueAttr, buf); err != nil || string(buf[:n]) != "y" {
			t.Errorf("%s: folder is not opaque: %v", name, err)
		}
	}
}

// TestBadLayers: each is refused with its reason and the entry's name, nothing
// is left in the store, and nothing outside it is touched.
func TestBadLayers(t *testing.T) {
	needRoot(t)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("safe"), 0o644); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(outside)
	tests := []struct {
		name    string
		entries []entry
		says    string
	}{
		{"climbing", []entry{{name: "../evil", body: "x"}}, `"../evil" climbs`},
		{"climbing later", []entry{{name: "a/../../evil", body: "x"}}, "climbs"},
		{"through an absolute link", []entry{{name: "l", link: folder, kind: tar.TypeSymlink}, {name: "l/outside", body: "evil"}}, `"l/outside"`},
		{"through a climbing link", []entry{{name: "l", link: "../../../../../../../.." + folder, kind: tar.TypeSymlink}, {name: "l/outside", body: "evil"}}, `"l/outside"`},
		{"folder through a link", []entry{{name: "l", link: folder, kind: tar.TypeSymlink}, {name: "l/sub/", kind: tar.TypeDir}}, "l/sub"},
		{"whiteout through a link", []entry{{name: "l", link: folder, kind: tar.TypeSymlink}, {name: "l/.wh.outside"}}, "l/.wh.outside"},
		{"hard link climbing", []entry{{name: "h", link: "../../outside", kind: tar.TypeLink}}, "outside the root"},
		{"hard link absolute", []entry{{name: "h", link: outside, kind: tar.TypeLink}}, "not in the layer"},
		{"hard link through a link", []entry{{name: "l", link: folder, kind: tar.TypeSymlink}, {name: "h", link: "l/outside", kind: tar.TypeLink}}, `"h"`},
		{"device", []entry{{name: "etc/sda", kind: tar.TypeBlock}}, `"etc/sda" is a device`},
		{"pipe", []entry{{name: "run/p", kind: tar.TypeFifo}}, "run/p"},
		{"dev as a link", []entry{{name: "dev", link: "/tmp", kind: tar.TypeSymlink}}, `"dev" must be a folder`},
		{"root as a file", []entry{{name: "./", link: "x", kind: tar.TypeSymlink}}, "root must be a folder"},
		{"bad whiteout", []entry{{name: "a/.wh..."}, {name: "a/.wh..wh.x"}}, "no whiteout"},
		{"overlay attribute", []entry{{name: "f", attrs: map[string]string{"SCHILY.xattr.trusted.overlay.redirect": "/etc"}}}, "redirect"},
		{"file as folder", []entry{{name: "a", body: "x"}, {name: "a/b", body: "x"}}, `"a/b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, _, _ := lay(t, gz, archive(t, tt.entries...))
			s := store(t)
			_, err := s.Resolve(t.Context(), "oci:"+dir)
			check(t, err, sdk.ReasonImageInvalid, tt.says)
			leftovers(t, s)
			if b, _ := os.ReadFile(outside); string(b) != "safe" {
				t.Fatalf("a file outside became %q", b)
			}
			if list, _ := os.ReadDir(folder); len(list) != 1 {
				t.Fatalf("the folder outside now holds %v", list)
			}
		})
	}
}

func check(t *testing.T, err error, reason sdk.Reason, says string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Reason != reason || !strings.Contains(err.Error(), says) {
		t.Fatalf("got %v, want %v saying %q", err, reason, says)
	}
}

func TestDamagedBlobs(t *testing.T) {
	needRoot(t)
	good := archive(t, entry{name: "bin/x", body: strings.Repeat("data ", 50000)})
	for _, pack := range []func([]byte) []byte{plain, gz, zst} {
		tests := []struct {
			name   string
			damage func(b []byte) []byte
			reason sdk.Reason
			says   string
		}{
			{"truncated", func(b []byte) []byte { return b[:len(b)/2] }, sdk.ReasonImageInvalid, "truncated"},
			{"empty", func(b []byte) []byte { return nil }, sdk.ReasonImageInvalid, "truncated"},
			{"flipped", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, sdk.ReasonImageDigest, "does not match"},
			{"longer", func(b []byte) []byte { return append(b, 0) }, sdk.ReasonImageDigest, "longer"},
			{"other", func(b []byte) []byte { return bytes.Repeat([]byte{7}, len(b)) }, sdk.ReasonImageDigest, "does not match"},
		}
		for _, tt := range tests {
			dir, _, blobs := lay(t, pack, good)
			at := filepath.Join(dir, oci.BlobPath(blobs[0]))
			b, _ := os.ReadFile(at)
			os.WriteFile(at, tt.damage(b), 0o644)
			s := store(t)
			_, err := s.Resolve(t.Context(), "oci:"+dir)
			check(t, err, tt.reason, tt.says)
			leftovers(t, s)
		}
	}
	// The archive is cut before it was packed: all digests match but its own.
	dir, _, _ := lay(t, gz, good[:len(good)/2])
	_, err := store(t).Resolve(t.Context(), "oci:"+dir)
	check(t, err, sdk.ReasonImageInvalid, "truncated")
}

func TestNotFound(t *testing.T) {
	dir, _, blobs := lay(t, plain, archive(t))
	s := store(t)
	for _, ref := range []string{"oci:/no/such/folder", "oci:" + dir + ":v2", "oci:" + dir + "@sha256:" + strings.Repeat("0", 64)} {
		_, err := s.Resolve(t.Context(), ref)
		check(t, err, sdk.ReasonImageNotFound, "")
	}
	os.Remove(filepath.Join(dir, oci.BlobPath(blobs[0])))
	_, err := s.Resolve(t.Context(), "oci:"+dir)
	check(t, err, sdk.ReasonImageNotFound, "lacks blob")
	for _, ref := range []string{"", "hello", "oci:", "oci::v1", "host/name:tag", "host/name@sha256:12", "host/../x@sha256:" + strings.Repeat("0", 64)} {
		_, err := s.Resolve(t.Context(), ref)
		check(t, err, sdk.ReasonInvalidTemplate, "")
	}
}

// TestRegistry pulls the same layer eight times at once over HTTP: it is read
// once, also by an image that shares it.
func TestRegistry(t *testing.T) {
	needRoot(t)
	dir, digest, blobs := lay(t, gz, archive(t, entry{name: "bin/x", body: strings.Repeat("x", 1<<20)}))
	var gets, fails atomic.Int64
	fails.Store(2)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/")
		d := sdk.Digest(parts[len(parts)-1])
		if !strings.HasPrefix(r.URL.Path, "/v2/team/app/") || !oci.ValidDigest(d) {
			http.NotFound(w, r)
			return
		}
		if d == blobs[0] {
			gets.Add(1)
		}
		if fails.Add(-1) >= 0 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		http.ServeFile(w, r, filepath.Join(dir, oci.BlobPath(d)))
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	s := store(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := s.Resolve(t.Context(), fmt.Sprintf("%s/team/app@%s", host, digest)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if gets.Load() != 1 {
		t.Errorf("layer read %d times", gets.Load())
	}
	_, err := s.Resolve(t.Context(), fmt.Sprintf("%s/team/other@sha256:%s", host, strings.Repeat("0", 64)))
	check(t, err, sdk.ReasonImageNotFound, "")
	srv.Close()
	_, err = s.Resolve(t.Context(), fmt.Sprintf("%s/team/app@sha256:%s", host, strings.Repeat("0", 64)))
	check(t, err, sdk.ReasonImageUnavailable, "")
	if _, err := s.Resolve(t.Context(), fmt.Sprintf("%s/team/app@%s", host, digest)); err != nil {
		t.Errorf("what is here already needs no registry: %v", err)
	}
}

// TestCancel: one caller giving up does not end the work others wait for; the
// last one giving up does, and leaves nothing.
func TestCancel(t *testing.T) {
	block := make(chan struct{})
	var f flights
	started := make(chan struct{})
	work := func(ctx context.Context) error {
		close(started)
		select {
		case <-block:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { first <- f.do(ctx, "k", work) }()
	<-started
	second := make(chan error)
	go func() { second <- f.do(t.Context(), "k", nil) }()
	for joined := false; !joined; {
		f.mu.Lock()
		joined = f.m["k"].waiting == 2
		f.mu.Unlock()
	}
	cancel()
	if err := <-first; err == nil {
		t.Error("the caller that gave up got no error")
	}
	close(block)
	if err := <-second; err != nil {
		t.Errorf("the other caller: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := f.do(ctx, "k", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }); err == nil {
		t.Error("cancelled work succeeded")
	}
	if len(f.m) != 0 {
		t.Error("a flight is left")
	}
}

func TestSweep(t *testing.T) {
	needRoot(t)
	shared := archive(t, entry{name: "base", body: "b"})
	s := store(t)
	dirA, a, _ := lay(t, plain, shared, archive(t, entry{name: "a"}))
	dirB, _, _ := lay(t, plain, shared, archive(t, entry{name: "b"}))
	for _, d := range []string{dirA, dirB} {
		if _, err := s.Resolve(t.Context(), "oci:"+d); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Sweep(nil, 1e12); n != 0 || err != nil {
		t.Fatalf("swept %d that were just asked for, %v", n, err)
	}
	if n, err := s.Sweep([]sdk.Digest{a}, 0); n != 1 || err != nil {
		t.Fatalf("swept %d, %v; want 1", n, err)
	}
	if img, ok := s.known(a); !ok || len(img.Layers) != 2 {
		t.Fatal("an image in use is gone")
	}
	if n, err := s.Sweep(nil, 0); n != 2 || err != nil {
		t.Fatalf("swept %d, %v; want 2", n, err)
	}
	leftovers(t, s)
}

func TestDiskFull(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	from, _, _ := lay(t, gz, archive(t, entry{name: "big", body: strings.Repeat("x", 2<<20)}))
	_, err = s.Resolve(t.Context(), "oci:"+from)
	check(t, err, sdk.ReasonDiskFull, "disk is full")
	leftovers(t, s)
}

func TestLayerBound(t *testing.T) {
	needRoot(t)
	s := store(t)
	s.max = 1 << 20
	from, _, _ := lay(t, gz, archive(t, entry{name: "bomb", body: strings.Repeat("x", 2<<20)}))
	_, err := s.Resolve(t.Context(), "oci:"+from)
	check(t, err, sdk.ReasonImageInvalid, "bound")
}
