package replica

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"os"

	"github.com/drupe-os/drupe/sdk"
)

// The layout of a bbolt file, as far as checking it needs. bbolt itself trusts
// its pages: a damaged one makes it serve wrong data, run in circles or take
// the process down. So a file is walked by this code before bbolt may open it.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	pageHeader   = 16
	elementSize  = 16
	bucketHeader = 16
	metaSize     = 64 // of it, the last 8 bytes are the FNV-1a sum of the rest
	noFreelist   = 0xffffffffffffffff

	branchPage = 0x01
	leafPage   = 0x02
	metaPage   = 0x04

	maxDepth = 32
)

// walker visits every reachable page of one bbolt file exactly once.
type walker struct {
	name     string // for faults
	f        io.ReaderAt
	pageSize int
	pages    uint64 // high-water mark
	seen     map[uint64]bool
	record   func(bucket string, key, sealed []byte) error
	buckets  []string
}

// verifyFile checks a whole bbolt file of ours: both meta pages, the shape of
// the tree, every record's seal, and every bucket against its tally. It never
// changes the file. Errors: Corrupt with the place; else those of reading.
func verifyFile(path string, buckets ...string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := &walker{name: path, f: f, seen: map[uint64]bool{}}
	found, want := map[string]tally{}, map[string]tally{}
	w.record = func(bucket string, key, sealed []byte) error {
		value, err := unseal(path, bucket, key, sealed)
		if err != nil {
			return err
		}
		if bucket == metaBucket {
			if name, ok := bytes.CutPrefix(key, tallyPrefix); ok {
				want[string(name)], err = decodeTally(path, string(name), value)
			}
			return err
		}
		t := found[bucket]
		t.add(sealed)
		if len(key) == 8 {
			n := binary.BigEndian.Uint64(key)
			if t.count == 1 {
				t.first = n
			}
			t.last = n
		}
		found[bucket] = t
		return nil
	}
	if err := w.run(); err != nil {
		return err
	}
	if len(w.buckets) != len(buckets)+1 || len(want) != len(buckets) {
		return corrupt(path, "it has the buckets %q, not %q and %q", w.buckets, metaBucket, buckets)
	}
	for _, b := range buckets {
		t, ok := want[b]
		if !ok {
			return corrupt(path, "bucket %s has no tally", b)
		}
		got := found[b]
		if !numbered(b) {
			got.first, got.last = 0, 0
		}
		if got != t {
			return corrupt(path, "bucket %s holds %d records from %d to %d, not %d from %d to %d as its tally says",
				b, got.count, got.first, got.last, t.count, t.first, t.last)
		}
	}
	return nil
}

func (w *walker) bad(format string, args ...any) error { return corrupt(w.name, format, args...) }

// run walks the tree of the newest meta page. Both meta pages must be sound:
// bbolt would silently go on with the older one and so forget the last
// transaction. Their 64 bytes lie in one disk sector, so no crash tears them.
func (w *walker) run() error {
	w.pageSize = os.Getpagesize()
	var root, txid uint64
	for i := range 2 {
		b := make([]byte, pageHeader+metaSize)
		if _, err := w.f.ReadAt(b, int64(i*w.pageSize)); err != nil {
			return w.bad("meta page %d: %v", i, err)
		}
		m := b[pageHeader:]
		h := fnv.New64a()
		h.Write(m[:metaSize-8])
		le := binary.LittleEndian
		if le.Uint32(m) != boltMagic || le.Uint32(m[4:]) != boltVersion || h.Sum64() != le.Uint64(m[metaSize-8:]) {
			return w.bad("meta page %d: checksum does not match", i)
		}
		if size := int(le.Uint32(m[8:])); size != w.pageSize {
			return sdk.Errorf(sdk.Unsupported, w.name, "written with pages of %d bytes, this machine has %d", size, w.pageSize)
		}
		if id := le.Uint64(m[48:]); i == 0 || id > txid {
			txid, root, w.pages = id, le.Uint64(m[16:]), le.Uint64(m[40:])
			if le.Uint64(m[32:]) != noFreelist {
				return w.bad("meta page %d: names a free list, which is never written", i)
			}
		}
	}
	w.seen[0], w.seen[1] = true, true
	return w.page(root, "", nil, nil, 0)
}

// page checks page id, whose keys must lie in [low, high), and all below it.
// bucket is "" in the tree of buckets.
func (w *walker) page(id uint64, bucket string, low, high []byte, depth int) error {
	if depth > maxDepth || id < 2 || id >= w.pages {
		return w.bad("page %d is out of bounds", id)
	}
	head := make([]byte, pageHeader)
	if _, err := w.f.ReadAt(head, int64(id)*int64(w.pageSize)); err != nil {
		return w.bad("page %d: %v", id, err)
	}
	over := uint64(binary.LittleEndian.Uint32(head[12:]))
	if over >= w.pages-id {
		return w.bad("page %d: is longer than the file", id)
	}
	for p := id; p <= id+over; p++ {
		if w.seen[p] {
			return w.bad("page %d is used twice", p)
		}
		w.seen[p] = true
	}
	b := make([]byte, int(over+1)*w.pageSize)
	if _, err := w.f.ReadAt(b, int64(id)*int64(w.pageSize)); err != nil && !errors.Is(err, io.EOF) {
		return w.bad("page %d: %v", id, err)
	}
	if binary.LittleEndian.Uint64(b) != id {
		return w.bad("page %d calls itself %d", id, binary.LittleEndian.Uint64(b))
	}
	return w.elements(b, id, bucket, low, high, depth)
}

// elements checks the body of a page, which may also be an inline bucket's.
func (w *walker) elements(b []byte, id uint64, bucket string, low, high []byte, depth int) error {
	le := binary.LittleEndian
	flags, count := le.Uint16(b[8:]), int(le.Uint16(b[10:]))
	if flags != branchPage && flags != leafPage || flags == branchPage && count == 0 {
		return w.bad("page %d is neither branch nor leaf", id)
	}
	if pageHeader+count*elementSize > len(b) {
		return w.bad("page %d counts %d elements", id, count)
	}
	type element struct {
		key, value []byte
		flags      uint32
		child      uint64
	}
	list := make([]element, count)
	for i := range list {
		at := pageHeader + i*elementSize
		e, el := b[at:at+elementSize], &list[i]
		var pos, ksize, vsize uint64
		if flags == branchPage {
			pos, ksize, el.child = uint64(le.Uint32(e)), uint64(le.Uint32(e[4:])), le.Uint64(e[8:])
		} else {
			el.flags = le.Uint32(e)
			pos, ksize, vsize = uint64(le.Uint32(e[4:])), uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
		}
		if uint64(at)+pos+ksize+vsize > uint64(len(b)) {
			return w.bad("page %d, element %d lies outside of its page", id, i)
		}
		body := b[uint64(at)+pos:]
		el.key, el.value = body[:ksize:ksize], body[ksize:ksize+vsize]
		if low != nil && bytes.Compare(el.key, low) < 0 || high != nil && bytes.Compare(el.key, high) >= 0 ||
			i > 0 && bytes.Compare(list[i-1].key, el.key) >= 0 {
			return w.bad("page %d, element %d: key %x is out of order", id, i, el.key)
		}
	}
	for i, el := range list {
		var err error
		switch {
		case flags == branchPage:
			next := high
			if i+1 < count {
				next = list[i+1].key
			}
			err = w.page(el.child, bucket, el.key, next, depth+1)
		case bucket == "" && el.flags == 1:
			err = w.bucket(el.key, el.value, id, depth)
		case bucket != "" && el.flags == 0:
			err = w.record(bucket, el.key, el.value)
		default:
			err = w.bad("page %d, element %d has flags %d", id, i, el.flags)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks one bucket, whose pages are its own or inline after its header.
func (w *walker) bucket(name, value []byte, id uint64, depth int) error {
	w.buckets = append(w.buckets, string(name))
	if len(name) == 0 || len(value) < bucketHeader {
		return w.bad("page %d: bucket %q has no header", id, name)
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return w.page(root, string(name), nil, nil, depth+1)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || binary.LittleEndian.Uint16(inline[8:]) != leafPage {
		return w.bad("page %d: bucket %q is damaged", id, name)
	}
	return w.elements(inline, id, string(name), nil, nil, depth+1)
}
