package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"cuelang.org/go/cue"

	module "github.com/drupe-os/drupe/cue"
	"github.com/drupe-os/drupe/cue/schema"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
)

// keyed are fields of Go types that JSON leaves out, because they are the key
// that the value stands under.
var keyed = map[string]bool{"Check.name": true, "Manifest.name": true, "VolumeMount.name": true}

// TestDrift holds the schema and the Go types together: same names, same
// optionality, same kinds, everywhere.
func TestDrift(t *testing.T) {
	s := schema.New()
	for _, kind := range schema.Kinds() {
		v, ok := s.Lookup([]string{schema.Plural(kind), "x"})
		if !ok {
			t.Fatalf("no schema for %s", kind)
		}
		for _, diff := range drift(kind, v.Value, reflect.TypeOf(module.Body(kind)).Elem()) {
			t.Error(diff)
		}
	}
}

// TestDriftNotices shows that drift finds each sort of difference.
func TestDriftNotices(t *testing.T) {
	type run struct {
		Image string `json:"image"`
	}
	type other struct {
		Version int64            `json:"version"` // text in the schema
		Point   string           `json:"point,omitempty"`
		ABI     uint32           `json:"abi"`
		Extra   bool             `json:"extra,omitempty"`
		Kinds   map[string]int64 `json:"kinds,omitempty"`
		Roles   []int64          `json:"roles,omitempty"`
		Limits  run              `json:"limits,omitzero"`
	}
	v, _ := schema.New().Lookup([]string{"plugins", "x"})
	got := strings.Join(drift("x", v.Value, reflect.TypeOf(other{})), "\n")
	for _, want := range []string{"x.version:", "x.point:", "x.extra:", "x.summary:", "x.kinds:", "x.roles[]:", "x.limits.image:", "x.limits.deadline:"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s not noticed in\n%s", want, got)
		}
	}
}

type goField struct {
	typ      reflect.Type
	optional bool
}

// goFields are the JSON fields of a struct, those of embedded ones included.
func goFields(t reflect.Type) map[string]goField {
	out := map[string]goField{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			for n, g := range goFields(f.Type) {
				out[n] = g
			}
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		if name == "-" || keyed[t.Name()+"."+name] {
			continue
		}
		out[name] = goField{f.Type, strings.Contains(opts, "omit")}
	}
	return out
}

// drift lists the differences between a schema value and a Go type.
func drift(at string, v cue.Value, t reflect.Type) []string {
	var out []string
	differ := func(where, format string, args ...any) {
		out = append(out, where+": "+fmt.Sprintf(format, args...))
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	kind := schema.Kind(v)
	want := map[cue.Kind]bool{}
	switch {
	case t == reflect.TypeFor[sdk.Resources]():
		if kind != cue.StructKind {
			differ(at, "Go has resources, CUE %v", kind)
		}
		return out // a map of numbers whose names each schema decides
	case t == reflect.TypeFor[sdk.Duration]():
		want[cue.StringKind] = true
	case t == reflect.TypeFor[sdk.Milli]():
		want[cue.NumberKind] = true
	case t.Kind() == reflect.String:
		want[cue.StringKind] = true
	case t.Kind() == reflect.Bool:
		want[cue.BoolKind] = true
	case t.Kind() == reflect.Slice:
		want[cue.ListKind] = true
	case t.Kind() == reflect.Map, t.Kind() == reflect.Struct:
		want[cue.StructKind] = true
	default:
		want[cue.IntKind] = true
	}
	if !want[kind] {
		differ(at, "Go has %v, CUE %v", t, kind)
		return out
	}
	switch t.Kind() {
	case reflect.Slice:
		for _, c := range schema.Children(v) {
			out = append(out, drift(at+"[]", c.Value, t.Elem())...)
		}
	case reflect.Map:
		found := false
		for _, c := range schema.Children(v) {
			if !c.Pattern.Exists() {
				differ(at, "Go has a map, CUE a field %q", c.Name)
				continue
			}
			found = true
			out = append(out, drift(at+".*", c.Value, t.Elem())...)
		}
		if !found {
			differ(at, "Go has a map, CUE no pattern")
		}
	case reflect.Struct:
		fields := goFields(t)
		for _, c := range schema.Children(v) {
			where := at + "." + c.Name
			g, ok := fields[c.Name]
			delete(fields, c.Name)
			switch {
			case !ok:
				differ(where, "in CUE only")
				continue
			case g.optional == c.Required:
				differ(where, "Go optional=%v, CUE required=%v", g.optional, c.Required)
			}
			if c.Doc() == "" {
				differ(where, "has no comment")
			}
			out = append(out, drift(where, c.Value, g.typ)...)
		}
		for name := range fields {
			differ(at+"."+name, "in Go only")
		}
	}
	return out
}

// goodFiles are the corpus and the examples.
func goodFiles(t testing.TB) []string {
	var out []string
	for _, glob := range []string{"../testdata/good/*.cue", "../../examples/*/*.cue", "../../plugins/*/*.cue"} {
		names, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, names...)
	}
	if len(out) < 7 {
		t.Fatalf("only %v", out)
	}
	return out
}

// TestRoundTrip takes every good document from CUE to JSON to Go to JSON to CUE
// and back.
func TestRoundTrip(t *testing.T) {
	c := NewChecker()
	for _, name := range goodFiles(t) {
		set, diags := Files([]string{name})
		for _, d := range diags {
			t.Errorf("%s: %+v", name, d)
		}
		for _, d := range set.Documents {
			v, err := decode(d.Ref.Kind, d.Body)
			if err != nil {
				t.Errorf("%s: %s: %v", name, d.Ref, err)
				continue
			}
			again, err := doc.Encode(v)
			if err != nil || !bytes.Equal(d.Body, again) {
				t.Errorf("%s: %s: not canonical, %v\n%s\n%s", name, d.Ref, err, d.Body, again)
			}
			back, diags := c.Canonical(d.Ref.Kind, d.Ref.Name, again)
			if len(diags) > 0 || !bytes.Equal(back.Body, again) || back.Role != d.Role {
				t.Errorf("%s: %s: back from JSON: %+v\n%s", name, d.Ref, diags, back.Body)
			}
		}
	}
}

// TestNothingLost compares what CUE makes of the fullest document with the
// canonical form, value by value.
func TestNothingLost(t *testing.T) {
	s := schema.New()
	text, err := os.ReadFile("../testdata/good/full.cue")
	if err != nil {
		t.Fatal(err)
	}
	set, diags := Source("full.cue", string(text))
	if len(diags) > 0 {
		t.Fatalf("%+v", diags)
	}
	f := parse(t, "full.cue", text)
	v := s.Build(f, nil)
	for _, d := range set.Documents {
		raw, err := v.LookupPath(cue.MakePath(cue.Str(schema.Plural(d.Ref.Kind)), cue.Str(d.Ref.Name))).MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var have, want any
		if json.Unmarshal(raw, &want) != nil || json.Unmarshal(d.Body, &have) != nil {
			t.Fatalf("%s: not JSON", d.Ref)
		}
		for _, diff := range compare(d.Ref.String(), have, want) {
			t.Error(diff)
		}
	}
}

// compare lists where two JSON trees differ in meaning; durations are compared
// as such, and a value that means "absent" may be.
func compare(at string, have, want any) []string {
	switch w := want.(type) {
	case map[string]any:
		h, _ := have.(map[string]any)
		var out []string
		for k := range w {
			out = append(out, compare(at+"."+k, h[k], w[k])...)
		}
		for k := range h {
			if _, ok := w[k]; !ok {
				out = append(out, at+"."+k+" came from nowhere")
			}
		}
		return out
	case []any:
		h, _ := have.([]any)
		if len(h) != len(w) {
			return []string{fmt.Sprintf("%s has %d elements, not %d", at, len(h), len(w))}
		}
		var out []string
		for i := range w {
			out = append(out, compare(fmt.Sprintf("%s[%d]", at, i), h[i], w[i])...)
		}
		return out
	case string:
		a, errA := time.ParseDuration(w)
		b, errB := time.ParseDuration(fmt.Sprint(have))
		if errA == nil && errB == nil && a == b {
			return nil
		}
	}
	if have != want {
		return []string{fmt.Sprintf("%s is %v, not %v", at, have, want)}
	}
	return nil
}
