package cdi

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

const acme = `
cdiVersion: "0.6.0"
kind: acme.com/fpga
containerEdits:
  env: [ACME=1]
  mounts:
  - {hostPath: /opt/acme/lib.so, containerPath: /lib/lib.so, options: [ro, bind]}
  hooks:
  - {hookName: createContainer, path: /usr/bin/acme-hook, args: [acme-hook]}
devices:
- name: "0"
  containerEdits:
    deviceNodes: [{path: /dev/acme0, permissions: rwm}, {path: /dev/acmectl}]
- name: "1"
  containerEdits:
    deviceNodes: [{path: /dev/acme0, hostPath: /dev/acme1}, {path: /dev/acmectl}]
- name: all
  containerEdits:
    deviceNodes: [{path: /dev/acme0}]
`

func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestVendor(t *testing.T) {
	dir := folder(t, map[string]string{"acme.yaml": acme, "bad.json": "{", "other.json": `{"cdiVersion":"9.0","kind":"a/b"}`, "notes.txt": "x"})
	r := Load(dir, filepath.Join(dir, "nowhere"))
	if len(r.Skipped) != 2 {
		t.Errorf("skipped: %v", r.Skipped)
	}
	d := r.Devices()
	if len(d) != 2 || d[0].ID != "acme.com/fpga=0" || d[0].Resource != "acme-com-fpga" || d[0].Kind != "fpga" || !d[0].Healthy {
		t.Errorf("%+v", d)
	}
	if d := r.Devices("acme.com/fpga"); len(d) != 0 {
		t.Errorf("%+v", d)
	}
	got, err := r.Grant("acme.com/fpga=1")
	if err != nil {
		t.Fatal(err)
	}
	want := &isolation.Grant{
		Devices: []isolation.Device{{Host: "/dev/acme1", Path: "/dev/acme0", Access: "rw"}, {Host: "/dev/acmectl", Path: "/dev/acmectl", Access: "rw"}},
		Mounts:  []isolation.Mount{{Path: "/lib/lib.so", Host: "/opt/acme/lib.so", ReadOnly: true, Trusted: true}},
		Env:     []string{"ACME=1"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if _, err := r.Grant("acme.com/fpga=7"); sdk.KindOf(err) != sdk.NotFound {
		t.Error(err)
	}
	if _, err := Load(folder(t, map[string]string{"n.yaml": strings.Replace(acme, "env: [ACME=1]", "netDevices: [{hostInterfaceName: e, name: e}]", 1)})).Grant("acme.com/fpga=0"); sdk.KindOf(err) != sdk.Unsupported {
		t.Error(err)
	}
}

func TestAddTo(t *testing.T) {
	s := isolation.Spec{Program: isolation.Program{Env: []string{"PATH=/bin", "A=1"}}, Sidecars: []isolation.Program{{Env: []string{"LD_LIBRARY_PATH="}}}}
	(&isolation.Grant{Env: []string{"PATH=/gpu", "A=2", "LD_LIBRARY_PATH=/lib"}}).AddTo(&s)
	if got := strings.Join(s.Program.Env, " "); got != "PATH=/gpu:/bin A=2 LD_LIBRARY_PATH=/lib" {
		t.Error(got)
	}
	if got := strings.Join(s.Sidecars[0].Env, " "); got != "LD_LIBRARY_PATH=/lib PATH=/gpu A=2" {
		t.Error(got)
	}
}
