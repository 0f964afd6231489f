package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // so that zones can be told everywhere

	module "github.com/drupe-os/drupe/cue"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
)

// decode reads a body into its Go type; a plugin's is its manifest.
func decode(kind string, raw []byte) (any, error) {
	if kind != module.KindPlugin {
		return doc.Decode(kind, raw)
	}
	m := module.Body(kind)
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(m); err != nil {
		return nil, sdk.Errorf(sdk.Invalid, "plugin", "%v", err)
	}
	return m, nil
}

// problems are what the schema cannot tell.
func problems(name string, body any) []doc.Problem {
	out := doc.Validate(name, body)
	if m, ok := body.(*sdk.Manifest); ok {
		if m.Point == sdk.PointPolicy && len(m.Kinds) > 0 {
			out = append(out, doc.Problem{Path: []string{"kinds"}, Message: "a policy owns no documents", Fix: "leave kinds out"})
		}
		for i, k := range m.Kinds {
			if k == sdk.KindRole || k == sdk.KindNode || k == module.KindPlugin {
				out = append(out, doc.Problem{Path: []string{"kinds", fmt.Sprint(i)}, Message: fmt.Sprintf("the kind %q belongs to the kernel", k), Fix: "own a kind of another name"})
			}
		}
	}
	if j, ok := body.(*doc.Job); ok && j.Schedule != nil && j.Schedule.Timezone != "" && !slices.ContainsFunc(out, func(p doc.Problem) bool { return slices.Contains(p.Path, "timezone") }) {
		if _, err := time.LoadLocation(j.Schedule.Timezone); err != nil {
			out = append(out, doc.Problem{Path: []string{"schedule", "timezone"}, Message: fmt.Sprintf("no time zone is named %q", j.Schedule.Timezone),
				Allowed: `an IANA name such as "Europe/Berlin"`})
		}
	}
	return out
}

// absolute makes the folders of images and modules absolute, relative to the
// folder of the file that names them.
func (u *unit) absolute(path []string, body any) {
	var t *doc.Task
	switch b := body.(type) {
	case *doc.Service:
		t = &b.Task
	case *doc.Job:
		t = &b.Task
	default:
		return
	}
	if c := t.Run.Container; c != nil {
		c.Image = u.whole(c.Image, path, "run", "container", "image")
	}
	if w := t.Run.Wasm; w != nil {
		w.Module = u.whole(w.Module, path, "run", "wasm", "module")
	}
	for name, s := range t.Sidecars {
		s.Container.Image = u.whole(s.Container.Image, path, "sidecars", name, "container", "image")
		t.Sidecars[name] = s
	}
}

// whole returns a reference to a folder or file with its whole path. Others it
// leaves as they are.
func (u *unit) whole(ref string, path []string, field ...string) string {
	kind, rest, _ := strings.Cut(ref, ":")
	if kind != "oci" && kind != "file" || rest == "" || filepath.IsAbs(rest) {
		return ref
	}
	dir := u.files[0].dir
	if e := u.index.nearest(slices.Concat(path, field)); e != nil {
		dir = e.file.dir
	}
	if dir == "" {
		return ref
	}
	return kind + ":" + filepath.Join(dir, rest)
}

// words and fieldOf take a decoding error apart.
func words(err error) string {
	var f *sdk.Fault
	if errors.As(err, &f) {
		return f.Message
	}
	return err.Error()
}

func fieldOf(err error) []string {
	var f *sdk.Fault
	if errors.As(err, &f) && f.Field != "" {
		return strings.Split(f.Field, ".")
	}
	return nil
}
