package wasm

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// page is the unit of a module's memory.
const page = 64 << 10

// linear is a module's memory: a run of addresses kept free for the most it may
// become, of which the kernel fills in what is touched. So it grows without
// being copied, costs the task what it uses, and is nothing to Go's collector.
type linear struct{ all []byte }

// reserve is wazero's allocator.
func reserve(_, most uint64) experimental.LinearMemory {
	b, err := unix.Mmap(-1, 0, int(max(most, page)), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return &linear{}
	}
	return &linear{b}
}

// Reallocate returns the memory at its new size, nil where that is not to be
// had.
func (l *linear) Reallocate(size uint64) []byte {
	if size > uint64(len(l.all)) {
		return nil
	}
	if size > 0 && unix.Mprotect(l.all[:size], unix.PROT_READ|unix.PROT_WRITE) != nil {
		return nil
	}
	return l.all[:size:size]
}

// Free gives it back.
func (l *linear) Free() {
	if l.all != nil {
		_ = unix.Munmap(l.all)
		l.all = nil
	}
}
