package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io/fs"
	"os"

	"github.com/drupe-os/drupe/sdk"
)

// The shape of bbolt's file, format version 2.
const (
	pageHeader = 16 // id u64, flags u16, count u16, overflow u32
	metaSize   = 64
	metaMagic  = 0xED0CDAED
	metaFormat = 2

	flagBranch   = 0x01
	flagLeaf     = 0x02
	bucketHeader = 16 // root u64, sequence u64; root 0: the page follows inline
	leafBucket   = 0x01
	maxDepth     = 32
)

var le = binary.LittleEndian

// walk checks the pages of the bbolt file at path before bbolt trusts them:
// bbolt follows a damaged reference into a crash or an endless descent, in
// goroutines where nobody could catch it. It reports whether both header pages
// are sound; when only one is, the last transaction may be missing. A file that
// does not exist or is empty is sound. Errors: Corrupt, Unavailable.
func walk(path string) (sound bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(data) == 0) {
		return true, nil
	}
	if err != nil {
		return false, fault(err, "read")
	}
	w := walker{data: data}
	sound, ok := w.header()
	if !ok {
		return false, sdk.Errorf(sdk.Corrupt, "checkpoint", "both header pages are damaged")
	}
	w.seen = make([]bool, w.high)
	if !w.page(w.root, 0, nil) {
		return false, sdk.Errorf(sdk.Corrupt, "checkpoint", "page %d is damaged", w.bad)
	}
	return sound, nil
}

// walker goes once over every page that the newest sound header reaches.
type walker struct {
	data []byte
	size uint64 // of a page
	root uint64 // page of the root bucket
	high uint64 // first page never used
	seen []bool
	bad  uint64 // the page at fault
	last []byte // last key met in the bucket
}

// header picks the newer sound header page of two.
func (w *walker) header() (both, ok bool) {
	size := uint64(os.Getpagesize())
	var newest uint64
	both = true
	for i := range uint64(2) {
		at := i*size + pageHeader
		if uint64(len(w.data)) < at+metaSize {
			return false, ok
		}
		m := w.data[at : at+metaSize]
		sum := fnv.New64a()
		sum.Write(m[:56])
		if le.Uint32(m) != metaMagic || le.Uint32(m[4:]) != metaFormat || uint64(le.Uint32(m[8:])) != size || sum.Sum64() != le.Uint64(m[56:]) {
			both = false
			continue
		}
		if txid := le.Uint64(m[48:]); !ok || txid > newest {
			newest, ok = txid, true
			w.size, w.root, w.high = size, le.Uint64(m[16:]), le.Uint64(m[40:])
		}
	}
	if w.high > uint64(len(w.data))/size {
		return both, false
	}
	return both, ok
}

// page checks page id and all below it. Keys must rise strictly over the whole
// bucket and not lie below floor, the key its parent gives it.
func (w *walker) page(id uint64, depth int, floor []byte) bool {
	w.bad = id
	if id < 2 || id >= w.high || depth > maxDepth {
		return false
	}
	p := w.data[id*w.size:]
	if le.Uint64(p) != id {
		return false
	}
	over := uint64(le.Uint32(p[12:]))
	if over >= w.high-id {
		return false
	}
	for i := id; i <= id+over; i++ {
		if w.seen[i] {
			return false
		}
		w.seen[i] = true
	}
	return w.elements(p[:(over+1)*w.size], depth, floor) && w.sane(id)
}

// sane restores the page at fault after its children passed.
func (w *walker) sane(id uint64) bool { w.bad = id; return true }

// elements checks the elements of a page, inline ones included.
func (w *walker) elements(p []byte, depth int, floor []byte) bool {
	flags, count := le.Uint16(p[8:]), int(le.Uint16(p[10:]))
	if len(p) < pageHeader+16*count {
		return false
	}
	for i := range count {
		e := p[pageHeader+16*i:]
		switch flags {
		case flagBranch:
			key, ok := cut(e, le.Uint32(e), le.Uint32(e[4:]))
			if !ok || bytes.Compare(key, floor) < 0 || (w.last != nil && bytes.Compare(key, w.last) <= 0) {
				return false
			}
			if !w.page(le.Uint64(e[8:]), depth+1, key) {
				return false
			}
		case flagLeaf:
			kind, pos, ksize, vsize := le.Uint32(e), le.Uint32(e[4:]), le.Uint32(e[8:]), le.Uint32(e[12:])
			key, ok := cut(e, pos, ksize)
			value, vok := cut(e, pos+ksize, vsize)
			if !ok || !vok || len(key) == 0 || pos+ksize < pos || bytes.Compare(key, floor) < 0 ||
				(w.last != nil && bytes.Compare(key, w.last) <= 0) || kind&^leafBucket != 0 {
				return false
			}
			if kind == leafBucket && !w.bucket(value, depth+1) {
				return false
			}
			w.last = key
		default:
			return false
		}
	}
	return flags == flagLeaf || (flags == flagBranch && count > 0)
}

// bucket checks a nested bucket.
func (w *walker) bucket(v []byte, depth int) bool {
	if len(v) < bucketHeader || depth > maxDepth {
		return false
	}
	outer := w.last
	defer func() { w.last = outer }()
	w.last = nil
	if root := le.Uint64(v); root != 0 {
		return w.page(root, depth, nil)
	}
	in := v[bucketHeader:]
	return len(in) >= pageHeader && le.Uint16(in[8:]) == flagLeaf && w.elements(in, depth, nil)
}

// cut returns size bytes of e from pos on.
func cut(e []byte, pos, size uint32) ([]byte, bool) {
	end := uint64(pos) + uint64(size)
	if end > uint64(len(e)) || size > 1<<30 {
		return nil, false
	}
	return e[pos:end], true
}
