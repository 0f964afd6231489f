package host

import (
	"github.com/drupe-os/drupe/sdk"
)

// Bounds on what a module may declare. wazero reserves memory by the numbers a
// module states, before it looks whether they are true, so they are checked
// here first; each is far above what compilers emit.
const (
	maxModule    = 16 << 20 // bytes
	maxTypes     = 20_000
	maxParams    = 1_000 // of one function type; results too
	maxImports   = 1_000
	maxFunctions = 200_000
	maxTables    = 16
	maxTable     = 1_000_000 // elements
	maxGlobals   = 20_000
	maxExports   = 20_000
	maxSegments  = 200_000
	maxLocals    = 50_000 // of one function
	maxBody      = 2 << 20
)

// Section ids of the binary format.
const (
	secCustom   = 0
	secType     = 1
	secImport   = 2
	secFunction = 3
	secTable    = 4
	secMemory   = 5
	secGlobal   = 6
	secExport   = 7
	secStart    = 8
	secElement  = 9
	secCode     = 10
	secData     = 11
	secCount    = 12
)

// imported is one import.
type imported struct{ module, name string }

// outline is what the scan learns of a module.
type outline struct {
	imports  []imported // functions only; others are refused
	exports  map[string]bool
	memories int
	pagesMin uint32
	pagesMax uint32 // 0 when none is declared
	start    bool
}

// scan walks a module once, in time and memory in proportion to its size, and
// refuses what is malformed, over a bound, or outside the features plugins may
// use.
func scan(wasm []byte) (*outline, error) {
	if len(wasm) > maxModule {
		return nil, sdk.Errorf(sdk.TooLarge, "module", "%d bytes, more than %d", len(wasm), maxModule).
			ToFix("strip it: -ldflags=\"-s -w\" for Go")
	}
	if len(wasm) < 8 || string(wasm[:8]) != "\x00asm\x01\x00\x00\x00" {
		return nil, sdk.Errorf(sdk.Invalid, "module", "not a WebAssembly module").
			Because("it does not begin with its magic number and version 1")
	}
	o := &outline{exports: map[string]bool{}}
	r := &reader{b: wasm, at: 8}
	last := -1
	for !r.done() {
		id := r.byte()
		s := r.sub(r.u32())
		if r.err != nil {
			break
		}
		if id != secCustom {
			if place := sectionPlace(id); place <= last {
				r.fail("section %d is out of order, twice there, or unknown", id)
				break
			} else {
				last = place
			}
		}
		o.section(id, s)
		if s.err == nil && id != secCustom && !s.done() {
			s.fail("section %d has %d bytes too many", id, len(s.b)-s.at)
		}
		if s.err != nil {
			return nil, s.err
		}
	}
	return o, r.err
}

// sectionPlace is a section's place in the order the format demands: by id, but
// for the data count, which stands before the code.
func sectionPlace(id byte) int {
	switch {
	case id == secCount:
		return 2*secElement + 1
	case id > secCount:
		return -1
	}
	return 2 * int(id)
}

func (o *outline) section(id byte, r *reader) {
	switch id {
	case secCustom:
		r.name()
	case secType:
		for range r.count("types", maxTypes) {
			if form := r.byte(); form != 0x60 {
				r.fail("a type of form %#x, which plugins may not use", form)
			}
			r.skip(uint32(r.count("parameters", maxParams)))
			r.skip(uint32(r.count("results", maxParams)))
		}
	case secImport:
		for range r.count("imports", maxImports) {
			i := imported{r.name(), r.name()}
			if kind := r.byte(); kind != 0 {
				r.fail("%s.%s is imported, but only functions can be", i.module, i.name)
			}
			r.u32()
			o.imports = append(o.imports, i)
		}
	case secFunction:
		for range r.count("functions", maxFunctions) {
			r.u32()
		}
	case secTable:
		for range r.count("tables", maxTables) {
			r.byte()
			low, high, bounded := r.limits()
			if low > maxTable || bounded && high > 1<<31 {
				r.fail("a table of %d elements, more than %d", low, maxTable)
			}
		}
	case secMemory:
		o.memories = r.count("memories", 1)
		for range o.memories {
			low, high, bounded := r.limits()
			o.pagesMin = low
			if bounded {
				o.pagesMax = max(high, 1)
			}
		}
	case secGlobal:
		for range r.count("globals", maxGlobals) {
			r.byte()
			r.byte()
			r.constant()
		}
	case secExport:
		for range r.count("exports", maxExports) {
			name := r.name()
			kind := r.byte()
			r.u32()
			if kind == 0 || kind == 2 {
				o.exports[name] = true
			}
		}
	case secStart:
		r.u32()
		o.start = true
	case secElement:
		for range r.count("element segments", maxSegments) {
			r.element()
		}
	case secCode:
		for range r.count("functions", maxFunctions) {
			r.body()
		}
	case secData:
		for range r.count("data segments", maxSegments) {
			if kind := r.u32(); kind == 2 {
				r.u32()
				r.constant()
			} else if kind == 0 {
				r.constant()
			}
			r.skip(r.u32())
		}
	case secCount:
		r.u32()
	default:
		r.fail("section %d is unknown", id)
	}
}

// limits reads the size of a table or memory.
func (r *reader) limits() (low, high uint32, bounded bool) {
	switch flag := r.byte(); flag {
	case 0:
		return r.u32(), 0, false
	case 1:
		return r.u32(), r.u32(), true
	default:
		r.fail("shared or 64-bit memory, which plugins may not use")
		return 0, 0, false
	}
}

// constant passes over a constant expression.
func (r *reader) constant() {
	for r.err == nil {
		switch op := r.byte(); op {
		case 0x0b: // end
			return
		case 0x41, 0x23, 0xd0, 0xd2: // i32.const, global.get, ref.null, ref.func
			r.sleb(5)
		case 0x42: // i64.const
			r.sleb(10)
		case 0x43: // f32.const
			r.skip(4)
		case 0x44: // f64.const
			r.skip(8)
		case 0xfd: // v128.const
			if r.u32() != 12 {
				r.fail("an instruction in a constant that is none")
			}
			r.skip(16)
		default:
			r.fail("instruction %#x in a constant", op)
		}
	}
}

// element passes over one element segment, of any of its eight forms.
func (r *reader) element() {
	form := r.u32()
	if form > 7 {
		r.fail("an element segment of form %d", form)
		return
	}
	passive := form&1 != 0
	if !passive {
		if form&2 != 0 {
			r.u32() // table
		}
		r.constant()
	}
	if form&3 != 0 {
		r.byte() // kind or type
	}
	for range r.count("elements", maxTable) {
		if form&4 != 0 {
			r.constant()
		} else {
			r.u32()
		}
	}
}

// body passes over one function: its locals are counted, its instructions are
// left to validation.
func (r *reader) body() {
	size := r.u32()
	if size > maxBody {
		r.fail("a function of %d bytes, more than %d", size, maxBody)
		return
	}
	b := r.sub(size)
	total := uint64(0)
	for range b.count("groups of locals", maxLocals) {
		total += uint64(b.u32())
		b.byte()
	}
	if total > maxLocals {
		b.fail("a function with %d locals, more than %d", total, maxLocals)
	}
	if b.err != nil && r.err == nil {
		r.err, r.at = b.err, len(r.b)
	}
}
