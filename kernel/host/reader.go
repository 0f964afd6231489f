package host

import (
	"github.com/drupe-os/drupe/sdk"
)

// reader walks bytes nobody vouches for. After the first error it stands still
// and gives zeros, so that callers check once.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = sdk.Errorf(sdk.Invalid, "module", format, args...)
		r.at = len(r.b)
	}
}

func (r *reader) done() bool { return r.at >= len(r.b) }

func (r *reader) byte() byte {
	if r.at >= len(r.b) {
		r.fail("cut off at byte %d", r.at)
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// skip passes over n bytes and returns them.
func (r *reader) skip(n uint32) []byte {
	if uint64(n) > uint64(len(r.b)-r.at) {
		r.fail("cut off at byte %d", r.at)
		return nil
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at]
}

// u32 reads an unsigned LEB128 number of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint32
	for i := range 5 {
		b := r.byte()
		if i == 4 && b > 0x0f {
			break
		}
		v |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v
		}
	}
	r.fail("a malformed number before byte %d", r.at)
	return 0
}

// sleb passes over a signed LEB128 number of at most max bytes.
func (r *reader) sleb(max int) {
	for range max {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail("a malformed number before byte %d", r.at)
}

// count reads the length of a list of what: at most most, and no more than the
// bytes left can hold, so that nobody reserves room for a lie.
func (r *reader) count(what string, most uint32) int {
	n := r.u32()
	switch {
	case r.err != nil:
		return 0
	case n > most:
		r.fail("%d %s, more than %d", n, what, most)
		return 0
	case int(n) > len(r.b)-r.at:
		r.fail("%d %s in %d bytes", n, what, len(r.b)-r.at)
		return 0
	}
	return int(n)
}

func (r *reader) name() string { return string(r.skip(r.u32())) }

// sub returns a reader of the next n bytes, with offsets of the whole.
func (r *reader) sub(n uint32) *reader {
	start := r.at
	if r.skip(n); r.err != nil {
		return &reader{err: r.err}
	}
	return &reader{b: r.b[:r.at], at: start}
}
