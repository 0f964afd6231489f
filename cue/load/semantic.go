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

// absolute makes the folder of an image absolute, relative to the folder of the
// file that names it.
func (u *unit) absolute(path []string, body any) {
	var c *sdk.Container
	switch b := body.(type) {
	case *doc.Service:
		c = b.Run.Container
	case *doc.Job:
		c = b.Run.Container
	}
	if c == nil {
		return
	}
	rest, ok := strings.CutPrefix(c.Image, "oci:")
	if !ok || rest == "" || filepath.IsAbs(rest) {
		return
	}
	dir := u.files[0].dir
	if e := u.index.nearest(append(slices.Clone(path), "run", "container", "image")); e != nil {
		dir = e.file.dir
	}
	if dir != "" {
		c.Image = "oci:" + filepath.Join(dir, rest)
	}
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
