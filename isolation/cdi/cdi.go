// Package cdi reads what makers of devices say a container needs to use them,
// in the form of the Container Device Interface, and turns it into what a task
// is granted. So every kind of device comes to a task by one way, whoever made
// it.
//
// Hooks are not run: they are programs of the host that would run as root for
// every start. What they do for GPUs (names of libraries, where the loader
// looks) is done with mounts and the environment; see isolation/gpu.
package cdi

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"tags.cncf.io/container-device-interface/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// Folders are where makers' tools put their files. What a later one says of a
// device wins.
var Folders = []string{"/etc/cdi", "/var/run/cdi"}

// Registry is what was found in such folders.
type Registry struct {
	specs   []specs.Spec
	Skipped []error // files that could not be read, and why
}

// Load reads the files of folders; folders that are not there hold none. A file
// that cannot be understood is skipped and does not harm the others.
func Load(folders ...string) *Registry {
	r := &Registry{}
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				r.Skipped = append(r.Skipped, sdk.Errorf(sdk.Unavailable, folder, "cannot be read: %w", err))
			}
			continue
		}
		for _, e := range entries {
			ext := filepath.Ext(e.Name())
			if ext != ".json" && ext != ".yaml" {
				continue
			}
			path := filepath.Join(folder, e.Name())
			b, err := os.ReadFile(path)
			if err == nil {
				var s specs.Spec
				if s, err = Parse(b); err == nil {
					r.specs = append(r.specs, s)
					continue
				}
			}
			r.Skipped = append(r.Skipped, sdk.Errorf(sdk.Invalid, path, "is no description of devices: %w", err))
		}
	}
	return r
}

// Parse reads a description in YAML or JSON. Errors: Invalid.
func Parse(b []byte) (specs.Spec, error) {
	var s specs.Spec
	var any any
	if err := yaml.Unmarshal(b, &any); err != nil { // JSON is YAML
		return s, sdk.Errorf(sdk.Invalid, "cdi", "%w", err)
	}
	b, err := json.Marshal(any)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, sdk.Errorf(sdk.Invalid, "cdi", "%w", err)
	}
	vendor, class, ok := strings.Cut(s.Kind, "/")
	switch {
	case !strings.HasPrefix(s.Version, "0.") && !strings.HasPrefix(s.Version, "1."):
		return s, sdk.Errorf(sdk.Invalid, "cdi", "version %q is not known", s.Version).At("cdiVersion")
	case !ok || vendor == "" || class == "":
		return s, sdk.Errorf(sdk.Invalid, "cdi", "kind %q is not VENDOR/CLASS", s.Kind).At("kind")
	}
	return s, nil
}

// Devices are those described, but for the kinds that except names, by id:
// "amd.com/gpu=0", each one of the resource that is named after its kind
// ("amd-com-gpu"). The name "all" is not a device of its own.
func (r *Registry) Devices(except ...string) []sdk.Device {
	byID := map[string]sdk.Device{}
	for _, s := range r.specs {
		if slices.Contains(except, s.Kind) {
			continue
		}
		_, class, _ := strings.Cut(s.Kind, "/")
		for _, d := range s.Devices {
			if d.Name == "" || d.Name == "all" {
				continue
			}
			id := s.Kind + "=" + d.Name
			byID[id] = sdk.Device{ID: id, Kind: class, Model: s.Kind, Healthy: true, NUMA: -1, Resource: Resource(s.Kind)}
		}
	}
	var list []sdk.Device
	for _, d := range byID {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b sdk.Device) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Resource returns the name of the resource for devices of a kind.
func Resource(kind string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(kind))
}

// Grant returns what containers get for devices, by their ids. Errors: NotFound
// for a device that nothing describes, Unsupported for what Drupe cannot give.
func (r *Registry) Grant(ids ...string) (*isolation.Grant, error) {
	var edits []*specs.ContainerEdits
	used := map[int]bool{}
	for _, id := range ids {
		kind, name, _ := strings.Cut(id, "=")
		at, which := -1, -1
		for i := range r.specs {
			if r.specs[i].Kind != kind {
				continue
			}
			if j := slices.IndexFunc(r.specs[i].Devices, func(d specs.Device) bool { return d.Name == name }); j >= 0 {
				at, which = i, j // the last one wins
			}
		}
		if at < 0 {
			return nil, sdk.Errorf(sdk.NotFound, "device/"+id, "nothing on this machine describes it").
				ToFix("let its maker's tool write a description to %s", Folders[0])
		}
		if !used[at] {
			used[at] = true
			edits = append(edits, &r.specs[at].ContainerEdits)
		}
		edits = append(edits, &r.specs[at].Devices[which].ContainerEdits)
	}
	return Grant(edits...)
}

// Grant returns what edits come to. What is in several of them is given once.
// Errors: Unsupported for network devices, which move into a container, and for
// Intel RDT.
func Grant(edits ...*specs.ContainerEdits) (*isolation.Grant, error) {
	g := &isolation.Grant{}
	paths := map[string]bool{}
	for _, e := range edits {
		if len(e.NetDevices) > 0 || e.IntelRdt != nil {
			return nil, sdk.Errorf(sdk.Unsupported, "device", "its description asks for network devices or Intel RDT").
				Because("Drupe gives tasks device nodes, files and environment only")
		}
		for _, d := range e.DeviceNodes {
			if paths[d.Path] {
				continue
			}
			paths[d.Path] = true
			n := isolation.Device{Host: d.HostPath, Path: d.Path, Access: d.Permissions}
			if n.Host == "" {
				n.Host = d.Path
			}
			if n.Access == "" {
				n.Access = "rw"
			}
			g.Devices = append(g.Devices, n)
		}
		for _, m := range e.Mounts {
			if paths[m.ContainerPath] {
				continue
			}
			paths[m.ContainerPath] = true
			// What a driver brings is shown, never handed over, unless its
			// description says that it is written to, as sockets are.
			g.Mounts = append(g.Mounts, isolation.Mount{Path: m.ContainerPath, Host: m.HostPath,
				ReadOnly: !slices.Contains(m.Options, "rw"), Trusted: true})
		}
		for _, v := range e.Env {
			if !slices.Contains(g.Env, v) {
				g.Env = append(g.Env, v)
			}
		}
	}
	return g, nil
}
