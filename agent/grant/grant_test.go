package grant

import (
	"fmt"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

func TestCheck(t *testing.T) {
	container := func(caps ...string) sdk.Template {
		return sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "oci:/x", Capabilities: caps}}}
	}
	with := func(edit func(*sdk.Template)) sdk.Template {
		tm := container()
		edit(&tm)
		return tm
	}
	volume := func(p string) sdk.Template {
		return with(func(tm *sdk.Template) {
			tm.Volumes = []sdk.VolumeMount{{Name: "v", Path: "/v", Host: &sdk.HostVolume{Path: p}}}
		})
	}
	namespaces := func(n ...string) sdk.Template {
		return with(func(tm *sdk.Template) { tm.HostNamespaces = n })
	}
	users := namespaces("users")
	users.Run.Container.Capabilities = []string{"DAC_OVERRIDE"}
	tests := []struct {
		name        string
		allow, deny string
		noUsers     bool
		template    sdk.Template
		want        string // the flag named; "" for permitted
	}{
		{name: "plain", template: container()},
		{name: "harmless", template: container("CHOWN", "DAC_OVERRIDE")},
		{name: "harmless denied", deny: "cap:CHOWN", template: container("CHOWN"), want: "cap:CHOWN"},
		{name: "harmless with the node's users", noUsers: true, template: container("DAC_OVERRIDE"), want: "cap:DAC_OVERRIDE"},
		{name: "capability", template: container("NET_ADMIN"), want: "cap:NET_ADMIN"},
		{name: "capability granted", allow: "cap:NET_ADMIN", template: container("NET_ADMIN")},
		{name: "granted and denied", allow: "cap:NET_ADMIN", deny: "cap:NET_ADMIN", template: container("NET_ADMIN"), want: "cap:NET_ADMIN"},
		{name: "a sidecar's", template: with(func(tm *sdk.Template) {
			tm.Sidecars = []sdk.Sidecar{{Name: "s", Container: sdk.Container{Capabilities: []string{"SYS_ADMIN"}}}}
		}), want: "cap:SYS_ADMIN"},
		{name: "process", template: sdk.Template{Run: sdk.Run{Process: &sdk.Process{}}}, want: "process"},
		{name: "process granted", allow: "process", template: sdk.Template{Run: sdk.Run{Process: &sdk.Process{}}}},
		{name: "namespace", template: namespaces("pid"), want: "host:pid"},
		{name: "users make capabilities the node's", allow: "host:users", template: users, want: "cap:DAC_OVERRIDE"},
		{name: "device", allow: "device:/dev/fuse", template: with(func(tm *sdk.Template) { tm.HostDevices = []sdk.HostDevice{{Path: "/dev/kvm"}} }), want: "device:/dev/kvm"},
		{name: "path", allow: "path:/srv/data", template: volume("/srv/database"), want: "path:/srv/database"},
		{name: "path within", allow: "path:/srv/data", template: volume("/srv/data/a/")},
		{name: "path climbing out", allow: "path:/srv/data", template: volume("/srv/data/../../etc"), want: "path:/etc"},
		{name: "path denied within", allow: "path:/srv", deny: "path:/srv/secret", template: volume("/srv/secret/x"), want: "path:/srv/secret/x"},
		{name: "network denied", deny: "network:host", template: container(), want: "network:host"},
		{name: "network of its own", deny: "network:host", template: with(func(tm *sdk.Template) { tm.Network = sdk.NetworkPrivate })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, err := New(strings.Fields(tt.allow), strings.Fields(tt.deny), !tt.noUsers)
			if err != nil {
				t.Fatal(err)
			}
			err = g.Check(&tt.template)
			if tt.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if isolation.ReasonOf(err) != sdk.ReasonNotPermitted || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want a refusal that names %s", err, tt.want)
			}
		})
	}
}

func TestUnknown(t *testing.T) {
	for _, name := range []string{"", "root", "cap:", "cap:net_admin", "host:mount", "device:fuse", "path:srv", "path:/srv/../etc", "process:x"} {
		if _, err := New([]string{name}, nil, true); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAttributes(t *testing.T) {
	g, err := New([]string{"process", "path:/srv/data", "cap:NET_ADMIN", "host:pid"}, []string{"host:pid"}, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(g.Attributes()), "[{allow.cap.NET_ADMIN true} {allow.path.srv/data true} {allow.process true} {allow.network.host true}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
