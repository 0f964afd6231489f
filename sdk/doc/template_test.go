package doc

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func TestTemplateIsSortedAndComplete(t *testing.T) {
	var s Service
	if err := json.Unmarshal([]byte(`{
		"run":{"container":{"image":"oci:x"}},
		"env":{"B":"2","A":"1"}, "resources":{"mem":1048576},
		"ports":{"web":{},"admin":{"host":9000}},
		"checks":{"z":{"tcp":{"port":"web"}},"a":{"http":{"port":"web","path":"/"}}}}`), &s); err != nil {
		t.Fatal(err)
	}
	want := sdk.Template{
		Run:       sdk.Run{Container: &sdk.Container{Image: "oci:x"}},
		Env:       []sdk.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
		Resources: sdk.R(DefaultCPUs, 1<<20),
		Ports:     []sdk.PortRequest{{Name: "admin", Host: 9000}, {Name: "web"}},
		Checks: []sdk.Check{{Name: "a", HTTP: &sdk.HTTPCheck{Port: "web", Path: "/"}},
			{Name: "z", TCP: &sdk.TCPCheck{Port: "web"}}},
	}
	if got := s.Template(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestBackoff(t *testing.T) {
	f := func(v sdk.Milli) *sdk.Milli { return &v }
	for _, c := range []struct {
		b    *Backoff
		n    int
		want sdk.Duration
	}{
		{nil, 0, 1000}, {nil, 1, 1150}, {nil, 2, 1322}, {nil, 3, 1520}, {nil, 10, 4039},
		{nil, 40, 267235}, {nil, 41, 300000}, {nil, 1 << 30, 300000},
		{&Backoff{First: 1}, 3, 4},
		{&Backoff{First: 500, Factor: f(2000), Max: 3000}, 2, 2000},
		{&Backoff{First: 500, Factor: f(2000), Max: 3000}, 3, 3000},
		{&Backoff{First: 500, Factor: f(1000)}, 1 << 30, 500},
		{&Backoff{First: 500, Factor: f(100)}, 9, 500},
		{&Backoff{First: 5000, Max: 3000}, 0, 3000},
	} {
		if got := c.b.After(c.n); got != c.want {
			t.Errorf("%+v after %d: %s, want %s", c.b, c.n, got, c.want)
		}
	}
}
