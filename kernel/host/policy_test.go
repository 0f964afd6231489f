package host

import (
	"context"
	"slices"
	"testing"

	"github.com/drupe-os/drupe/plugins/drf/fair"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// The same source must choose the same natively and in the sandbox, also when
// the batch outgrows the room the plugin made.
func TestTwins(t *testing.T) {
	h := newHost(t, Config{CacheDir: shared})
	m := install(t, h, build(t, drf, drfManifest()))
	p, err := m.Policy(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	n := Native(fair.New())
	for _, nodes := range []int{3, 4, 500, 20} {
		b := batch(nodes)
		var a, c record
		if err := p.Allocate(context.Background(), b, &a); err != nil {
			t.Fatal(err)
		}
		if err := n.Allocate(context.Background(), b, &c); err != nil {
			t.Fatal(err)
		}
		if len(a.placed) != 5 || !slices.Equal(a.placed, c.placed) {
			t.Fatalf("%d nodes: in the sandbox %v, natively %v", nodes, a.placed, c.placed)
		}
	}
	if s := m.Stats(); s.Calls != 4 || s.Rejected != 0 || s.Instances != 1 {
		t.Fatalf("%+v", s)
	}
}

// Two fresh instances that were called alike must be alike, to the last byte of
// their memory: that is what lets calls be replayed.
func TestSameCallsSameMemory(t *testing.T) {
	h := newHost(t, Config{CacheDir: shared})
	m := install(t, h, build(t, drf, drfManifest()))
	var memories [2][]byte
	for i := range memories {
		p, err := m.Policy(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close(context.Background())
		for _, nodes := range []int{3, 300} {
			if err := p.Allocate(context.Background(), batch(nodes), &record{}); err != nil {
				t.Fatal(err)
			}
		}
		mem := p.in.wasm.Memory()
		b, _ := mem.Read(0, mem.Size())
		memories[i] = slices.Clone(b)
	}
	if !slices.Equal(memories[0], memories[1]) {
		t.Fatal("the memories of two instances differ after the same calls")
	}
}

// Only rows named dirty are written again; the plugin must see them and no
// others changed.
func TestDirtyRows(t *testing.T) {
	h := newHost(t, Config{})
	// It answers with the free cpus of node 1, so that what it sees is visible.
	at := columnAt(policy.ColNodeFree) + 5*8
	body := join(i32(0), []byte{0x28, 2}, leb(at))
	m := install(t, h, handmadePolicy(t, body))
	p, err := m.Policy(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	see := func(dirty []uint32, free int64) uint32 {
		b := batch(3)
		b.Nodes.Free[5] = free
		b.Nodes.Dirty = dirty
		p.in.index = nil
		if err := p.lay(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		p.table.write(p.in.wasm.Memory(), b, p.rows != 3)
		p.rows = 3
		v, _ := p.in.wasm.Memory().ReadUint32Le(at)
		return v
	}
	if got := see([]uint32{}, 1); got != 1 {
		t.Fatalf("a first batch must be written whole; it sees %d", got)
	}
	if got := see([]uint32{0, 2}, 2); got != 1 {
		t.Fatalf("row 1 was not dirty, yet it sees %d", got)
	}
	if got := see([]uint32{1, 1, 99}, 3); got != 3 {
		t.Fatalf("row 1 was dirty, yet it sees %d", got)
	}
	if got := see(nil, 4); got != 4 {
		t.Fatalf("nil means all, yet it sees %d", got)
	}
}

func TestWrongPoint(t *testing.T) {
	h := newHost(t, Config{})
	m := install(t, h, handmadePolicy(t, i32(0)))
	if _, err := m.Framework(context.Background()); sdk.KindOf(err) != sdk.Invalid {
		t.Fatal(err)
	}
}
