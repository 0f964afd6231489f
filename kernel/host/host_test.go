package host

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/module"
	"github.com/drupe-os/drupe/sdk/policy"
)

// newHost returns a host that is closed with the test.
func newHost(t testing.TB, c Config) *Host {
	t.Helper()
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

// install installs a module that is closed with the test.
func install(t testing.TB, h *Host, wasm []byte) *Module {
	t.Helper()
	m, err := h.Install(context.Background(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

// shared is the compile cache all tests of the package use.
var shared string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "host-test")
	if err != nil {
		panic(err)
	}
	shared = filepath.Join(dir, "cache")
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

var built sync.Map // by package

// build compiles a Go plugin and gives it a manifest.
func build(t testing.TB, pkg string, m sdk.Manifest) []byte {
	t.Helper()
	once, _ := built.LoadOrStore(pkg, sync.OnceValues(func() ([]byte, error) {
		out := filepath.Join(filepath.Dir(shared), filepath.Base(pkg)+".wasm")
		cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, pkg)
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, sdk.Errorf(sdk.Internal, pkg, "%v: %s", err, text)
		}
		return os.ReadFile(out)
	}))
	wasm, err := once.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	if wasm, err = module.WithManifest(wasm, m); err != nil {
		t.Fatal(err)
	}
	return wasm
}

func drfManifest() sdk.Manifest {
	return sdk.Manifest{Name: "drf", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1}
}

const drf = "github.com/drupe-os/drupe/plugins/drf"

// batch is two roles with one client each, so many nodes of 4 cores, and two
// demands for three and two tasks of one core.
func batch(nodes int) *policy.Batch {
	const dims = 5
	zero := func(n int) []int64 { return make([]int64, n) }
	b := &policy.Batch{Dims: dims, Total: []int64{int64(nodes) * 4000, int64(nodes) << 33, 0, 0, 0}}
	b.Roles = policy.Roles{Parent: []int32{-1, 0, 0}, Weight: []int64{1000, 1000, 1000}, Held: zero(3 * dims),
		Reserved: zero(3 * dims), Guarantee: zero(3 * dims), Limit: zero(3 * dims), Allocations: make([]uint64, 3)}
	for i := range b.Roles.Limit {
		b.Roles.Limit[i] = -1
	}
	b.Clients = policy.Clients{Role: []int32{1, 2}, Held: zero(2 * dims), Allocations: make([]uint64, 2)}
	need := []int64{1000, 1 << 30, 0, 0, 0}
	b.Demands = policy.Demands{Client: []uint32{0, 1}, Priority: []int32{0, 0}, Count: []uint32{3, 2},
		Need: append(append([]int64{}, need...), need...), Elastic: []uint8{0, 0}}
	for range nodes {
		b.Nodes.Capacity = append(b.Nodes.Capacity, 4000, 1<<33, 0, 0, 0)
		b.Nodes.Free = append(b.Nodes.Free, 4000, 1<<33, 0, 0, 0)
		b.Nodes.Usable = append(b.Nodes.Usable, 1)
	}
	return b
}

// record is an index with room for everything that writes down what it is told.
type record struct {
	placed []uint32 // demand rows in order
	why    map[uint32]sdk.Reason
	asked  int
}

func (r *record) Place(demand, n uint32, _ policy.Strategy) (uint32, sdk.Reason) {
	r.asked++
	for range n {
		r.placed = append(r.placed, demand)
	}
	return n, sdk.ReasonNone
}
func (r *record) PlaceOn(demand, _, n uint32) (uint32, sdk.Reason) {
	return r.Place(demand, n, policy.First)
}
func (r *record) Candidates(_ uint32, _ policy.Strategy, out []uint32) int {
	for i := range out {
		out[i] = uint32(i)
	}
	return len(out)
}
func (r *record) Allocatable(_, _ uint32, out, reserved []int64) sdk.Reason {
	for i := range out {
		out[i], reserved[i] = int64(100+i), int64(i)
	}
	return sdk.ReasonNone
}
func (r *record) Offer(demand, _ uint32, _ []int64) sdk.Reason {
	r.placed = append(r.placed, demand)
	return sdk.ReasonNone
}
func (r *record) Explain(demand uint32, why sdk.Reason) {
	if r.why == nil {
		r.why = map[uint32]sdk.Reason{}
	}
	r.why[demand] = why
}
