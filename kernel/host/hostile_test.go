package host

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// loop is an instruction sequence that never ends.
var loop = []byte{0x03, 0x40, 0x0c, 0x00, 0x0b, 0x00}

// Every way to misbehave that a policy has is contained: it has a reason, is
// counted, and neither the same plugin's next call nor another plugin's is any
// the worse for it.
func TestHostilePolicies(t *testing.T) {
	call := func(f uint32) []byte { return append([]byte{0x10}, leb(f)...) }
	drop := []byte{0x1a}
	const far = 1 << 30
	cases := []struct {
		name   string
		body   []byte
		limits sdk.PluginLimits
		want   sdk.Reason
		detail string
	}{
		{name: "trap", body: []byte{0x00}, want: sdk.ReasonTrap, detail: "unreachable"},
		{name: "divide by zero", body: join(i32(1), i32(0), []byte{0x6d}), want: sdk.ReasonTrap},
		{name: "read outside memory", body: join(i32(-8), []byte{0x28, 2, 0}), want: sdk.ReasonTrap, detail: "out of bounds"},
		{name: "endless recursion", body: call(7), want: sdk.ReasonTrap, detail: "stack overflow"},
		{name: "endless loop", body: loop, limits: sdk.PluginLimits{Deadline: 50}, want: sdk.ReasonDeadline},
		{name: "memory grab", body: join(
			[]byte{0x03, 0x40}, i32(64), []byte{0x40, 0x00}, i32(-1), []byte{0x47, 0x0d, 0x00, 0x0b, 0x00}),
			limits: sdk.PluginLimits{MemoryPages: 1024}, want: sdk.ReasonMemory, detail: "1024 pages"},
		{name: "bad status", body: i32(-7), want: sdk.ReasonAnswerInvalid, detail: "status -7"},
		{name: "host call flood", body: join([]byte{0x03, 0x40}, i32(0), i32(0), i32(0), call(0), drop, []byte{0x0c, 0x00, 0x0b, 0x00}),
			limits: sdk.PluginLimits{HostCalls: 1000}, want: sdk.ReasonAnswerTooLong, detail: "1000 host calls"},
		{name: "log flood", body: join([]byte{0x03, 0x40}, i32(0), i32(1000), call(4), []byte{0x0c, 0x00, 0x0b, 0x00}),
			limits: sdk.PluginLimits{HostCalls: 1000}, want: sdk.ReasonAnswerTooLong},
		{name: "candidates outside memory", body: join(i32(0), i32(0), i32(far), i32(100), call(1)), want: sdk.ReasonAnswerInvalid, detail: "outside its memory"},
		{name: "candidates at the very end", body: join(i32(0), i32(0), i32(4*pageSize-8), i32(3), call(1)), want: sdk.ReasonAnswerInvalid},
		{name: "allocatable outside memory", body: join(i32(0), i32(0), i32(64), i32(-4), call(2)), want: sdk.ReasonAnswerInvalid},
		{name: "offer outside memory", body: join(i32(0), i32(0), i32(-1), call(3)), want: sdk.ReasonAnswerInvalid},
		{name: "log outside memory", body: join(i32(-1), i32(10), call(4), i32(0)), want: sdk.ReasonAnswerInvalid},
	}
	h := newHost(t, Config{CacheDir: shared})
	healthy := install(t, h, handmadePolicy(t, join(i32(0), i32(1), i32(0), call(0), drop, i32(0))))
	beside, err := healthy.Policy(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close(context.Background())
	recurse := guestFunc{name: "_recurse", results: "i", body: join(call(8), i32(1), []byte{0x6a})}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.limits.Deadline == 0 {
				c.limits.Deadline = 30 * sdk.Second // what ends it must not be a slow machine
			}
			g := handmadeGuest(c.body, recurse)
			if c.name == "endless recursion" {
				g.funcs[2].body = call(8)
			}
			m := install(t, h, signed(t, g, sdk.Manifest{Name: "hostile", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1, Limits: c.limits}))
			p, err := m.Policy(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close(context.Background())
			for n := uint64(1); n <= 2; n++ { // the second call must meet a fresh instance
				begun := time.Now()
				err = p.Allocate(context.Background(), batch(3), &record{})
				if got := ReasonOf(err); got != c.want || !strings.Contains(err.Error(), c.detail) {
					t.Fatalf("want %s, got %v", c.want, err)
				}
				if took := time.Since(begun); took > time.Minute {
					t.Fatalf("it held its caller for %s", took)
				}
				if s := m.Stats(); s.Rejected != n || s.Calls != n || s.Instances != n {
					t.Fatalf("%+v", s)
				}
				var r record
				if err := beside.Allocate(context.Background(), batch(3), &r); err != nil || len(r.placed) != 1 {
					t.Fatalf("another plugin: %v, %v", err, r.placed)
				}
			}
		})
	}
}

// Rows that do not exist are answered with a reason and never reach the index.
func TestWrongRows(t *testing.T) {
	h := newHost(t, Config{CacheDir: shared})
	// place(9, 1, 0): the reason comes back in the low half.
	body := join(i32(9), i32(1), i32(0), []byte{0x10, 0x00}, []byte{0xa7})
	m := install(t, h, handmadePolicy(t, body))
	p, err := m.Policy(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	var r record
	err = p.Allocate(context.Background(), batch(3), &r)
	if ReasonOf(err) != sdk.ReasonAnswerInvalid || !strings.Contains(err.Error(), "status 309") || r.asked != 0 {
		t.Fatalf("%v, asked %d times", err, r.asked)
	}
}

// Layout tables that lie are found before anything is written by them.
func TestLyingLayouts(t *testing.T) {
	put := func(col policy.Column, field int, v uint32) func(g *guestModule) {
		return func(g *guestModule) {
			at := tableAt + int(col)*policy.EntrySize + 4*field
			g.data[at], g.data[at+1], g.data[at+2], g.data[at+3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
		}
	}
	cases := map[string]func(g *guestModule){
		"table outside memory":  func(g *guestModule) { g.funcs[1].body = i32(-16) },
		"another column":        put(policy.ColNodeFree, 0, 3),
		"another element size":  put(policy.ColNodeFree, 1, 4),
		"column outside memory": put(policy.ColNodeFree, 2, 1<<30),
		"offset wraps round":    put(policy.ColNodeFree, 2, 0xffffffff),
		"too little room":       put(policy.ColDemandCount, 3, 2),
		"endless capacity":      put(policy.ColNodeFree, 3, 0xffffffff),
	}
	h := newHost(t, Config{CacheDir: shared})
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			g := handmadeGuest(i32(0))
			spoil(&g)
			m := install(t, h, signed(t, g, sdk.Manifest{Name: "liar", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1}))
			p, err := m.Policy(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close(context.Background())
			if err := p.Allocate(context.Background(), batch(3), &record{}); ReasonOf(err) != sdk.ReasonAnswerInvalid {
				t.Fatal(err)
			}
		})
	}
}

// A caller who gives up is told so, and the plugin is not blamed for it.
func TestCallerGivesUp(t *testing.T) {
	h := newHost(t, Config{CacheDir: shared})
	m := install(t, h, handmadePolicy(t, loop))
	p, err := m.Policy(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := p.Allocate(ctx, batch(3), &record{}); err != context.DeadlineExceeded || m.Stats().Rejected != 0 {
		t.Fatalf("%v, %+v", err, m.Stats())
	}
}

// A module that misbehaves while it starts is contained too.
func TestHostileStart(t *testing.T) {
	h := newHost(t, Config{CacheDir: shared})
	for name, body := range map[string][]byte{
		"trap":            {0x00},
		"endless loop":    loop,
		"asks for nodes":  join(i32(0), i32(1), i32(0), []byte{0x10, 0x00, 0x1a}),
		"prints for ever": join([]byte{0x03, 0x40}, i32(0), i32(1000), []byte{0x10, 0x04}, []byte{0x0c, 0x00, 0x0b}),
	} {
		t.Run(name, func(t *testing.T) {
			g := handmadeGuest(i32(0), guestFunc{name: initialize, body: body})
			m := install(t, h, signed(t, g, sdk.Manifest{Name: "hostile", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1,
				Limits: sdk.PluginLimits{Deadline: 50, HostCalls: 5000}}))
			if _, err := m.Policy(context.Background()); ReasonOf(err) == sdk.ReasonNone {
				t.Fatal(err)
			}
		})
	}
}
