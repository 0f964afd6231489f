// Package module reads and writes custom sections of WebAssembly modules: the
// way a plugin's manifest travels inside the plugin.
//
// It scans the module's sections one after the other, decodes nothing else, and
// takes time and memory in proportion to the module's size whatever the bytes.
package module

import (
	"encoding/binary"
	"encoding/json"

	"github.com/drupe-os/drupe/sdk"
)

// ManifestSection is the name of the custom section that holds the manifest of
// a plugin, as JSON.
const ManifestSection = "drupe.manifest"

// header begins every module: the magic number and version 1.
const header = "\x00asm\x01\x00\x00\x00"

// custom is the section id of custom sections.
const custom = 0

// section is one section of a module.
type section struct {
	id      byte
	name    string // of a custom section
	content []byte // of a custom section, after the name; else all
	raw     []byte // id and size included
}

// scan calls f for each section until it returns false.
func scan(wasm []byte, f func(s section) bool) error {
	if len(wasm) < len(header) || string(wasm[:len(header)]) != header {
		return sdk.Errorf(sdk.Invalid, "module", "not a WebAssembly module").Because("it does not begin with its magic number and version 1")
	}
	for at := len(header); at < len(wasm); {
		start := at
		id := wasm[at]
		size, n := length(wasm[at+1:])
		at += 1 + n
		if n == 0 || uint64(size) > uint64(len(wasm)-at) {
			return sdk.Errorf(sdk.Invalid, "module", "the section at byte %d is cut off", start)
		}
		s := section{id: id, content: wasm[at : at+int(size)]}
		at += int(size)
		s.raw = wasm[start:at]
		if id == custom {
			l, n := length(s.content)
			if n == 0 || uint64(l) > uint64(len(s.content)-n) {
				return sdk.Errorf(sdk.Invalid, "module", "the name of the section at byte %d is cut off", start)
			}
			s.name, s.content = string(s.content[n:n+int(l)]), s.content[n+int(l):]
		}
		if !f(s) {
			return nil
		}
	}
	return nil
}

// length reads an unsigned LEB128 number of at most 32 bits. n is 0 when it is
// malformed or cut off.
func length(b []byte) (v uint32, n int) {
	const longest = 5
	for i := 0; i < longest && i < len(b); i++ {
		if i == longest-1 && b[i] > 0x0f {
			return 0, 0
		}
		v |= uint32(b[i]&0x7f) << (7 * i)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// Find returns the content of the custom section of that name; it aliases wasm.
// Errors: Invalid for what is no module, for a damaged section, and when the
// section is there twice; NotFound when it is not there.
func Find(wasm []byte, name string) ([]byte, error) {
	var found []byte
	count := 0
	err := scan(wasm, func(s section) bool {
		if s.id == custom && s.name == name {
			found = s.content
			count++
		}
		return true
	})
	switch {
	case err != nil:
		return nil, err
	case count == 0:
		return nil, sdk.Errorf(sdk.NotFound, "module", "no section %q", name)
	case count > 1:
		return nil, sdk.Errorf(sdk.Invalid, "module", "%d sections %q, want one", count, name)
	}
	return found, nil
}

// Append returns a copy of wasm with a custom section of that name and content
// at its end, in place of any it had. Errors: those of Find but NotFound.
func Append(wasm []byte, name string, content []byte) ([]byte, error) {
	out := append(make([]byte, 0, len(wasm)+len(name)+len(content)+16), header...)
	err := scan(wasm, func(s section) bool {
		if s.id != custom || s.name != name {
			out = append(out, s.raw...)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	named := append(binary.AppendUvarint(nil, uint64(len(name))), name...)
	out = binary.AppendUvarint(append(out, custom), uint64(len(named)+len(content)))
	return append(append(out, named...), content...), nil
}

// Manifest reads a plugin's manifest out of its module. Errors: those of Find,
// and Invalid for a section that is no manifest.
func Manifest(wasm []byte) (sdk.Manifest, error) {
	raw, err := Find(wasm, ManifestSection)
	if err != nil {
		if sdk.KindOf(err) == sdk.NotFound {
			return sdk.Manifest{}, sdk.Errorf(sdk.Invalid, "module", "it carries no manifest").
				ToFix("pack it with its plugin.cue: plugin-pack plugin.cue module.wasm")
		}
		return sdk.Manifest{}, err
	}
	var m sdk.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return sdk.Manifest{}, sdk.Errorf(sdk.Invalid, "module", "its manifest cannot be read: %v", err)
	}
	return m, nil
}

// WithManifest returns a copy of wasm that carries m. Errors: those of Append.
func WithManifest(wasm []byte, m sdk.Manifest) ([]byte, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "module", "encode the manifest: %v", err)
	}
	return Append(wasm, ManifestSection, raw)
}
