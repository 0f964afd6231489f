package gate

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// canonical rewrites a document's body with sorted keys and no spaces, numbers
// and their spelling kept, so that equal declarations have equal digests.
// Errors: Invalid for anything but one JSON object, and for a key given twice,
// since two readers of such text need not see the same.
func canonical(body []byte) ([]byte, error) {
	if err := checkDepth(body); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if len(bytes.TrimSpace(body)) == 0 || bytes.TrimSpace(body)[0] != '{' {
		return nil, malformed(sdk.Errorf(sdk.Invalid, "", "a document's body is a JSON object").At("body"))
	}
	var out bytes.Buffer
	if err := canonicalValue(d, &out, "body"); err != nil {
		if sdk.KindOf(err) == sdk.Invalid {
			return nil, err
		}
		return nil, decodeFault(err, body)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, malformed(sdk.Errorf(sdk.Invalid, "", "goes on after its JSON object").At("body"))
	}
	return out.Bytes(), nil
}

// canonicalValue copies the next value of d to out. path names it in errors.
func canonicalValue(d *json.Decoder, out *bytes.Buffer, path string) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return canonicalObject(d, out, path)
		}
		return canonicalList(d, out, path)
	case json.Number:
		out.WriteString(t.String())
		return nil
	}
	return writeJSON(out, t)
}

func canonicalObject(d *json.Decoder, out *bytes.Buffer, path string) error {
	type member struct {
		key   string
		value []byte
	}
	var members []member
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		m := member{key: t.(string)} // the decoder lets nothing else be a key
		var value bytes.Buffer
		if err := canonicalValue(d, &value, path+"."+m.key); err != nil {
			return err
		}
		m.value = value.Bytes()
		members = append(members, m)
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare([]byte(a.key), []byte(b.key)) })
	out.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			if members[i-1].key == m.key {
				return malformed(sdk.Errorf(sdk.Invalid, "", "is given twice").At(path + "." + m.key).ToFix("remove one of the two"))
			}
			out.WriteByte(',')
		}
		if err := writeJSON(out, m.key); err != nil {
			return err
		}
		out.WriteByte(':')
		out.Write(m.value)
	}
	out.WriteByte('}')
	return nil
}

func canonicalList(d *json.Decoder, out *bytes.Buffer, path string) error {
	out.WriteByte('[')
	for i := 0; d.More(); i++ {
		if i > 0 {
			out.WriteByte(',')
		}
		if err := canonicalValue(d, out, path+"[]"); err != nil {
			return err
		}
	}
	out.WriteByte(']')
	_, err := d.Token()
	return err
}

// writeJSON appends v without the escaping that is meant for web pages.
func writeJSON(out *bytes.Buffer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1) // the encoder's newline
	return nil
}

// digestOf is the content address of a canonical body.
func digestOf(body []byte) sdk.Digest {
	sum := sha256.Sum256(body)
	return sdk.Digest("sha256:" + hex.EncodeToString(sum[:]))
}
