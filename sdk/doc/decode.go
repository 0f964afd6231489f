package doc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Kinds of document whose bodies are here, beside sdk.KindRole and
// sdk.KindNode.
const (
	KindService = "service"
	KindJob     = "job"
)

// Body returns a pointer to an empty body of the kind, or nil for a kind that
// is not here.
func Body(kind string) any {
	switch kind {
	case KindService:
		return new(Service)
	case KindJob:
		return new(Job)
	case sdk.KindRole:
		return new(Role)
	case sdk.KindNode:
		return new(Node)
	}
	return nil
}

// Decode reads a body strictly: no unknown field, nothing after it. The result
// is a *Service, *Job, *Role or *Node. Errors are faults of kind Invalid that
// name the field where that can be told.
func Decode(kind string, body []byte) (any, error) {
	v := Body(kind)
	if v == nil {
		return nil, sdk.Errorf(sdk.Invalid, kind, "unknown kind of document").ToFix("kinds are service, job, role and node")
	}
	if err := strict(body, v); err != nil {
		return nil, fault(kind, err)
	}
	return v, nil
}

// Canonical returns the one way to write what body says: strictly decoded, keys
// sorted, durations and numbers in their shortest exact form, what is absent
// left out. Equal meaning, equal bytes. Errors: those of Decode.
func Canonical(kind string, body []byte) ([]byte, error) {
	v, err := Decode(kind, body)
	if err != nil {
		return nil, err
	}
	return Encode(v)
}

// Encode writes v, a pointer to a body or a manifest, in canonical form.
func Encode(v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "document", "encode: %v", err)
	}
	var tree any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		return nil, sdk.Errorf(sdk.Internal, "document", "encode: %v", err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil { // maps are written with sorted keys
		return nil, sdk.Errorf(sdk.Internal, "document", "encode: %v", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func strict(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("more than one JSON value")
	}
	return nil
}

// fault puts an error of the JSON library into our words.
func fault(kind string, err error) *sdk.Fault {
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong):
		return sdk.Errorf(sdk.Invalid, kind, "%s is given where %s is wanted", wrong.Value, jsonName(wrong.Type.Kind().String())).At(wrong.Field)
	case errors.As(err, &syntax):
		return sdk.Errorf(sdk.Invalid, kind, "not JSON: %v, at byte %d", syntax, syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return sdk.Errorf(sdk.Invalid, kind, "the body ends too early")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		return sdk.Errorf(sdk.Invalid, kind, "unknown field %q", name).At(name)
	}
	return sdk.Errorf(sdk.Invalid, kind, "%s", strings.TrimPrefix(err.Error(), "json: "))
}

func jsonName(goKind string) string {
	switch goKind {
	case "struct", "map":
		return "an object"
	case "slice":
		return "a list"
	case "string":
		return "text"
	case "bool":
		return "true or false"
	}
	return "a number"
}
