package gossip

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/drupe-os/drupe/sdk"
)

func fast(c *serf.Config) {
	c.LeavePropagateDelay = 50 * time.Millisecond
	c.BroadcastTimeout = time.Second
	m := c.MemberlistConfig
	m.ProbeInterval, m.ProbeTimeout, m.GossipInterval = 200*time.Millisecond, 100*time.Millisecond, 20*time.Millisecond
	m.SuspicionMult, m.TCPTimeout = 1, time.Second
}

func member(t *testing.T, name string, key byte) *Gossip {
	t.Helper()
	g, err := Start(Config{
		Name: name, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Key: bytes.Repeat([]byte{key}, KeySize),
		Server: "log-of-" + name, Logger: slog.New(slog.DiscardHandler), tune: fast,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

// await waits for a hint.
func await(t *testing.T, g *Gossip, name string, alive, left bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for {
		select {
		case h := <-g.Hints():
			if h.Name == name && h.Alive == alive && h.Left == left {
				if h.Server != "log-of-"+name || h.Gossip == "" {
					t.Fatalf("%+v", h)
				}
				return
			}
		case <-timeout:
			t.Fatalf("%s: no hint of %s, alive %t, left %t", g.cfg.Name, name, alive, left)
		}
	}
}

func TestJoinLeaveKill(t *testing.T) {
	a, b, c := member(t, "a", 1), member(t, "b", 1), member(t, "c", 1)
	for _, g := range []*Gossip{b, c} {
		if n, err := g.Join([]string{a.Addr()}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		await(t, a, g.cfg.Name, true, false)
	}
	await(t, b, "c", true, false) // though b only met a
	if m := a.Members(); len(m) != 3 {
		t.Fatalf("%+v", m)
	}
	if !a.serf.EncryptionEnabled() {
		t.Fatal("in clear")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, a, "c", false, true)
	began := time.Now()
	if err := b.Close(); err != nil { // without a word
		t.Fatal(err)
	}
	await(t, a, "b", false, false)
	t.Logf("kill noticed after %v", time.Since(began))
	if _, open := <-b.Hints(); open {
		t.Fatal("hints after Close")
	}
}

func TestWrongKeyStaysOut(t *testing.T) {
	a, stranger := member(t, "a", 1), member(t, "x", 2)
	if n, err := stranger.Join([]string{a.Addr()}); n != 0 || sdk.KindOf(err) != sdk.Unavailable {
		t.Fatal(n, err)
	}
	if m := a.Members(); len(m) != 1 {
		t.Fatalf("%+v", m)
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{
		{}, {Name: "a", Bind: netip.MustParseAddrPort("127.0.0.1:0"), Key: []byte("short")},
		{Name: "not a name", Bind: netip.MustParseAddrPort("127.0.0.1:0"), Key: make([]byte, KeySize)},
	} {
		if _, err := Start(c); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A reader that is slow gets the latest of each member, in the order of events.
func TestReplace(t *testing.T) {
	var w []Hint
	for _, s := range []string{"a+", "b+", "a-", "c+", "b-", "b+"} {
		w = replace(w, Hint{Name: s[:1], Alive: s[1] == '+'})
	}
	if got := fmt.Sprint(w); got != fmt.Sprint([]Hint{{Name: "a"}, {Name: "c", Alive: true}, {Name: "b", Alive: true}}) {
		t.Error(got)
	}
}
