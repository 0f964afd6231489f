package host

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// Modules that must not get in, each with the words that tell its author why.
func TestInstallRefuses(t *testing.T) {
	good := sdk.Manifest{Name: "p", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1}
	with := func(change func(g *guestModule, m *sdk.Manifest)) []byte {
		g, m := handmadeGuest(i32(0)), good
		change(&g, &m)
		return signed(t, g, m)
	}
	head := "\x00asm\x01\x00\x00\x00"
	cases := []struct {
		name string
		wasm []byte
		kind sdk.FaultKind
		says string
	}{
		{"nothing", nil, sdk.Invalid, "not a WebAssembly module"},
		{"text", []byte("#!/bin/sh\nexit 0"), sdk.Invalid, "not a WebAssembly module"},
		{"no manifest", handmadeGuest(i32(0)).bytes(), sdk.Invalid, "carries no manifest"},
		{"too big", append([]byte(head), make([]byte, maxModule)...), sdk.TooLarge, "more than"},
		{"cut off", with(func(*guestModule, *sdk.Manifest) {})[:60], sdk.Invalid, "cut off"},
		{"four billion types", []byte(head + "\x01\x05\xff\xff\xff\xff\x0f"), sdk.Invalid, "types"},
		{"four billion imports", []byte(head + "\x02\x05\xff\xff\xff\xff\x0f"), sdk.Invalid, "imports"},
		{"four billion table elements", []byte(head + "\x04\x08\x01\x70\x00\xff\xff\xff\xff\x0f"), sdk.Invalid, "elements"},
		{"four billion globals", []byte(head + "\x06\x05\xff\xff\xff\xff\x0f"), sdk.Invalid, "globals"},
		{"four billion locals", []byte(head + "\x0a\x0a\x01\x08\x01\xff\xff\xff\xff\x0f\x7f\x0b"), sdk.Invalid, "locals"},
		{"four billion bytes of data", []byte(head + "\x0b\x07\x01\x01\xff\xff\xff\xff\x0f"), sdk.Invalid, "cut off"},
		{"sections out of order", []byte(head + "\x03\x01\x00\x01\x01\x00"), sdk.Invalid, "out of order"},
		{"bad name", with(func(_ *guestModule, m *sdk.Manifest) { m.Name = "../x" }), sdk.Invalid, "names it"},
		{"unknown point", with(func(_ *guestModule, m *sdk.Manifest) { m.Point = "oracle" }), sdk.Unsupported, "oracle"},
		{"another version", with(func(_ *guestModule, m *sdk.Manifest) { m.ABI = 2 }), sdk.Unsupported, "version 2"},
		{"too much memory", with(func(_ *guestModule, m *sdk.Manifest) { m.Limits.MemoryPages = 60000 }), sdk.TooLarge, "512Mi"},
		{"too long a deadline", with(func(_ *guestModule, m *sdk.Manifest) { m.Limits.Deadline = sdk.Hour }), sdk.TooLarge, "longer call"},
		{"no marker", with(func(g *guestModule, _ *sdk.Manifest) { g.funcs[0].name = "other" }), sdk.Unsupported, policy.ExportMarker},
		{"a framework by its manifest only", with(func(_ *guestModule, m *sdk.Manifest) { m.Point = sdk.PointFramework }), sdk.Unsupported, "drupe_abi_framework_1"},
		{"no allocate", with(func(g *guestModule, _ *sdk.Manifest) { g.funcs[2].name = "other" }), sdk.Invalid, policy.ExportAllocate},
		{"allocate of another type", with(func(g *guestModule, _ *sdk.Manifest) { g.funcs[2].results, g.funcs[2].body = "", nil }), sdk.Invalid, "another type"},
		{"an import nobody gives", with(func(g *guestModule, _ *sdk.Manifest) { g.imports[0].name = "reboot" }), sdk.Denied, "drupe.reboot"},
		{"an import of another type", with(func(g *guestModule, _ *sdk.Manifest) { g.imports[0].results = "i" }), sdk.Invalid, "import drupe.place has another type"},
		{"begins above its memory limit", with(func(g *guestModule, m *sdk.Manifest) { g.pages = 2000 }), sdk.TooLarge, "2000 pages"},
		{"code that does not validate", with(func(g *guestModule, _ *sdk.Manifest) { g.funcs[2].body = []byte{0x6a} }), sdk.Invalid, "no valid module"},
	}
	h := newHost(t, Config{})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.Install(context.Background(), c.wasm)
			if sdk.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("want %s about %q, got %v", c.kind, c.says, err)
			}
		})
	}
}

// Whatever is cut off or flipped in a module, Install comes back with an error
// or a module, and does not take the process along.
func TestInstallSurvivesDamage(t *testing.T) {
	h := newHost(t, Config{})
	whole := signed(t, handmadeGuest(i32(0)), sdk.Manifest{Name: "p", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1})
	try := func(b []byte) {
		if m, err := h.Install(context.Background(), b); err == nil {
			if err := m.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := 0; n < len(whole); n += 7 {
		try(whole[:n])
	}
	for at := 8; at < 400; at++ {
		for _, v := range []byte{0x00, 0x7f, 0xff} {
			b := append([]byte{}, whole...)
			b[at] = v
			try(b)
		}
	}
}

func TestCacheFolderIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	newHost(t, Config{CacheDir: dir})
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{CacheDir: dir}); sdk.KindOf(err) != sdk.Denied {
		t.Fatalf("an open folder was used: %v", err)
	}
}

// A cache whose files were cut off costs time, and nothing else.
func TestCompileCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	wasm := signed(t, handmadeGuest(i32(0)), sdk.Manifest{Name: "p", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1})
	use := func() error {
		h, err := New(Config{CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close(context.Background())
		m, err := h.Install(context.Background(), wasm)
		if err != nil {
			return err
		}
		defer m.Close(context.Background())
		p, err := m.Policy(context.Background())
		if err != nil {
			return err
		}
		defer p.Close(context.Background())
		return p.Allocate(context.Background(), batch(3), &record{})
	}
	if err := use(); err != nil {
		t.Fatal(err)
	}
	files := 0
	if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			files++
			return os.Truncate(path, info.Size()/2)
		}
		return err
	}); err != nil || files == 0 {
		t.Fatalf("%d files in the cache, %v", files, err)
	}
	if err := use(); err != nil {
		t.Fatalf("a damaged cache keeps the plugin out: %v", err)
	}
}
