package module

import (
	"bytes"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

// typed is a module with a type section and a custom one, whose size is written
// longer than need be, as some linkers do.
const typed = header + "\x01\x04\x01\x60\x00\x00" + "\x00\x86\x00\x04nameX"

func TestAppendThenFind(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 1<<15)
	out, err := Append([]byte(typed), "a", long)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(out, []byte(typed)) {
		t.Error("what was there is changed")
	}
	if got, err := Find(out, "a"); err != nil || !bytes.Equal(got, long) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	out, err = Append(out, "a", []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Find(out, "a"); err != nil || string(got) != "new" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := Find(out, "name"); err != nil || string(got) != "X" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestManifest(t *testing.T) {
	m := sdk.Manifest{Name: "drf", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1, Summary: "s", Roles: []sdk.RolePath{""}}
	out, err := WithManifest([]byte(header), m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Manifest(out)
	if err != nil || got.Name != m.Name || got.ABI != 1 || len(got.Roles) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Manifest([]byte(header)); sdk.KindOf(err) != sdk.Invalid {
		t.Errorf("no manifest: %v", err)
	}
}

func TestDamaged(t *testing.T) {
	cases := map[string]string{
		"empty":            "",
		"text":             "hello, I am not a module",
		"version 2":        "\x00asm\x02\x00\x00\x00",
		"size cut off":     header + "\x01\x80",
		"size too long":    header + "\x01\x80\x80\x80\x80\x80\x01",
		"size over 32 bit": header + "\x01\xff\xff\xff\xff\x7f",
		"content cut off":  header + "\x01\x05\x01",
		"huge":             header + "\x00\xff\xff\xff\xff\x0f",
		"name cut off":     header + "\x00\x01\x05",
		"no name":          header + "\x00\x00",
		"twice":            header + "\x00\x02\x01a\x00\x02\x01a",
	}
	for name, wasm := range cases {
		if _, err := Find([]byte(wasm), "a"); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Find([]byte(header), "a"); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("absent: %v", err)
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte(typed))
	f.Fuzz(func(t *testing.T, wasm []byte) {
		out, err := Append(wasm, "a", []byte("b"))
		if err != nil {
			return
		}
		if got, err := Find(out, "a"); err != nil || string(got) != "b" {
			t.Errorf("%q, %v", got, err)
		}
	})
}
