package host

import (
	"encoding/binary"
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/module"
	"github.com/drupe-os/drupe/sdk/policy"
)

// guestModule is a module put together by hand, for tests of what no compiler emits.
type guestModule struct {
	imports  []guestFunc // body is not used; name is drupe's
	funcs    []guestFunc
	pages    uint32
	maxPages uint32 // 0: none declared
	data     []byte // at address 0
}

// guestFunc is one function: its type as letters (i, I), its locals, all i32,
// and its instructions without the end.
type guestFunc struct {
	name            string // exported, unless it begins with "_" other than _initialize
	params, results string
	locals          int
	body            []byte
}

func leb(v uint32) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func vec(items ...[]byte) []byte {
	out := leb(uint32(len(items)))
	for _, i := range items {
		out = append(out, i...)
	}
	return out
}

func sect(id byte, content []byte) []byte {
	return append(append([]byte{id}, leb(uint32(len(content)))...), content...)
}

func str(s string) []byte { return append(leb(uint32(len(s))), s...) }

func types(s string) []byte {
	var out [][]byte
	for _, c := range s {
		t := byte(0x7f)
		if c == 'I' {
			t = 0x7e
		}
		out = append(out, []byte{t})
	}
	return vec(out...)
}

// bytes assembles the module.
func (g guestModule) bytes() []byte {
	var typ, imp, fun, exp, code [][]byte
	for i, f := range append(append([]guestFunc{}, g.imports...), g.funcs...) {
		typ = append(typ, append(append([]byte{0x60}, types(f.params)...), types(f.results)...))
		if i < len(g.imports) {
			imp = append(imp, append(append(append(str("drupe"), str(f.name)...), 0), leb(uint32(i))...))
			continue
		}
		fun = append(fun, leb(uint32(i)))
		if f.name[0] != '_' || f.name == initialize {
			exp = append(exp, append(append(str(f.name), 0), leb(uint32(i))...))
		}
		body := leb(0)
		if f.locals > 0 {
			body = append(append(leb(1), leb(uint32(f.locals))...), 0x7f)
		}
		body = append(append(body, f.body...), 0x0b)
		code = append(code, append(leb(uint32(len(body))), body...))
	}
	exp = append(exp, append(str("memory"), 2, 0))
	mem := append([]byte{0}, leb(g.pages)...)
	if g.maxPages > 0 {
		mem = append(append([]byte{1}, leb(g.pages)...), leb(g.maxPages)...)
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, sect(secType, vec(typ...))...)
	if len(imp) > 0 {
		out = append(out, sect(secImport, vec(imp...))...)
	}
	out = append(out, sect(secFunction, vec(fun...))...)
	out = append(out, sect(secMemory, vec(mem))...)
	out = append(out, sect(secExport, vec(exp...))...)
	out = append(out, sect(secCode, vec(code...))...)
	if len(g.data) > 0 {
		seg := append([]byte{0, 0x41, 0, 0x0b}, append(leb(uint32(len(g.data))), g.data...)...)
		out = append(out, sect(secData, vec(seg))...)
	}
	return out
}

// tableAt is where handmade policies keep their layout table; their columns
// begin behind it, with plenty of room for the small batches of the tests.
const tableAt = 1024

// layoutTable is a valid layout table for up to 64 rows of everything.
func layoutTable() []byte {
	out := make([]byte, tableAt)
	at := uint32(4096)
	for c, s := range shapes {
		room := uint32(64)
		if s.vector {
			room *= 8
		}
		out = binary.LittleEndian.AppendUint32(out, uint32(c))
		out = binary.LittleEndian.AppendUint32(out, s.size)
		out = binary.LittleEndian.AppendUint32(out, at)
		out = binary.LittleEndian.AppendUint32(out, room)
		at += (room*s.size + 15) &^ 15
	}
	return out
}

// columnAt is where a column lies in handmade policies.
func columnAt(c policy.Column) uint32 {
	return binary.LittleEndian.Uint32(layoutTable()[tableAt+int(c)*policy.EntrySize+8:])
}

func i32(v int32) []byte { return append([]byte{0x41}, sleb(int64(v))...) }

func sleb(v int64) []byte {
	var out []byte
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// handmadePolicy is a policy whose allocate has the given body, with the imports
// place (0), candidates (1), allocatable (2), offer (3), log (4).
func handmadePolicy(t testing.TB, allocate []byte, more ...guestFunc) []byte {
	return signed(t, handmadeGuest(allocate, more...), sdk.Manifest{Name: "hostile", Version: "1.0.0", Point: sdk.PointPolicy, ABI: 1})
}

func handmadeGuest(allocate []byte, more ...guestFunc) guestModule {
	return guestModule{
		imports: []guestFunc{
			{name: "place", params: "iii", results: "I"},
			{name: "candidates", params: "iiii", results: "i"},
			{name: "allocatable", params: "iiii", results: "i"},
			{name: "offer", params: "iii", results: "i"},
			{name: "log", params: "ii"},
		},
		funcs: append([]guestFunc{
			{name: policy.ExportMarker},
			{name: policy.ExportLayout, params: "iiiii", results: "i", body: i32(tableAt)},
			{name: policy.ExportAllocate, results: "i", locals: 2, body: allocate},
		}, more...),
		pages: 4,
		data:  layoutTable(),
	}
}

func signed(t testing.TB, g guestModule, m sdk.Manifest) []byte {
	t.Helper()
	b, err := module.WithManifest(g.bytes(), m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
