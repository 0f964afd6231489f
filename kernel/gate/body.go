package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// readBody reads the request's body whole, at most limit bytes. Whoever sends a
// byte a minute is cut off by the read deadline that serve set; it ends with the
// body, so that a stream may follow.
func readBody(w http.ResponseWriter, r *http.Request, limit int64, patience time.Duration) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var max *http.MaxBytesError
	switch {
	case errors.As(err, &max):
		return nil, tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &withStatus{sdk.Errorf(sdk.Timeout, "request body", "did not arrive in time").
			Because("it must be complete within %s", patience).ToFix("send it again"), http.StatusRequestTimeout}
	case err != nil:
		return nil, malformed(sdk.Errorf(sdk.Invalid, "request body", "broke off: %v", err))
	}
	http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, nil
}

func tooLarge(limit int64) error {
	if limit == 0 {
		return sdk.Errorf(sdk.TooLarge, "request body", "none is wanted here").ToFix("send the request without a body")
	}
	return sdk.Errorf(sdk.TooLarge, "request body", "larger than %s", sdk.FormatBytes(limit)).
		ToFix("split the request into smaller ones")
}

// contentType returns the request's media type without parameters.
func contentType(r *http.Request) string {
	t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return t
}

// maxDepth bounds how deep JSON may be nested. Documents are about ten deep.
const maxDepth = 64

// decode reads one JSON value into v and refuses all that v has no field for.
func decode(body []byte, v any) error {
	if err := checkDepth(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return decodeFault(err, body)
	}
	if _, err := d.Token(); err != io.EOF {
		return malformed(sdk.Errorf(sdk.Invalid, "request body", "goes on after its JSON value"))
	}
	return nil
}

// checkDepth refuses deep nesting before anything recursive sees the text.
func checkDepth(b []byte) error {
	depth, text := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return malformed(sdk.Errorf(sdk.Invalid, "request body", "nested deeper than %d levels", maxDepth))
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// decodeFault says in people's words what encoding/json refused.
func decodeFault(err error, body []byte) error {
	var (
		syntax *json.SyntaxError
		typ    *json.UnmarshalTypeError
		fault  *sdk.Fault
	)
	switch {
	case errors.As(err, &fault):
		return malformed(fault)
	case errors.As(err, &typ):
		return malformed(sdk.Errorf(sdk.Invalid, "request body", "%s is not wanted here", typ.Value).
			At(typ.Field).ToFix("give a %s", jsonName(typ.Type.Kind().String())))
	case errors.As(err, &syntax):
		line := 1 + bytes.Count(body[:min(int(syntax.Offset), len(body))], []byte("\n"))
		return malformed(sdk.Errorf(sdk.Invalid, "request body", "is not JSON").Because("line %d: %v", line, syntax))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return malformed(sdk.Errorf(sdk.Invalid, "request body", "ends before its JSON value does"))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		return malformed(sdk.Errorf(sdk.Invalid, "request body", "there is no field %q", name).At(name).
			ToFix("remove it, or look at its spelling"))
	}
	return malformed(sdk.Errorf(sdk.Invalid, "request body", "%s", strings.TrimPrefix(err.Error(), "json: ")))
}

// jsonName is what JSON calls a Go kind.
func jsonName(kind string) string {
	switch {
	case strings.Contains(kind, "int"), strings.HasPrefix(kind, "float"):
		return "number"
	case kind == "struct", kind == "map":
		return "object"
	case kind == "slice", kind == "array":
		return "list"
	}
	return kind
}
