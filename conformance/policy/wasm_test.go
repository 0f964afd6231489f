package policy

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/drupe-os/drupe/kernel/host"
	"github.com/drupe-os/drupe/sdk"
	api "github.com/drupe-os/drupe/sdk/policy"

	"github.com/drupe-os/drupe/sdk/module"
)

// sandboxed is a policy in the kernel's sandbox.
type sandboxed struct{ p *host.Policy }

func (s sandboxed) Allocate(b *api.Batch, ix api.Index) error {
	return s.p.Allocate(context.Background(), b, ix)
}

// TestWasm plays every case on the policy as it is shipped. POLICY names a
// .wasm file to be tried instead.
func TestWasm(t *testing.T) {
	m := installed(t, os.Getenv("POLICY"))
	boxed := func() Allocator {
		p, err := m.Policy(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close(context.Background()) })
		return sandboxed{p}
	}
	t.Run("reference", func(t *testing.T) { playAll(t, reference, boxed) })
	t.Run("kernel", func(t *testing.T) { playAll(t, kernel, boxed) })
}

// installed compiles a policy for the test; drf, freshly built, when file is "".
func installed(t testing.TB, file string) *host.Module {
	t.Helper()
	if file == "" {
		file = filepath.Join(t.TempDir(), "drf.wasm")
		cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", file, "github.com/drupe-os/drupe/plugins/drf")
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	wasm, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := module.Find(wasm, module.ManifestSection); sdk.KindOf(err) == sdk.NotFound {
		wasm, err = module.WithManifest(wasm, sdk.Manifest{Name: "drf", Version: "0.0.0", Point: sdk.PointPolicy, ABI: 1})
		if err != nil {
			t.Fatal(err)
		}
	}
	h, err := host.New(host.Config{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.Install(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}
