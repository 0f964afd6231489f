package host

import (
	"golang.org/x/sys/unix"

	"github.com/tetratelabs/wazero/experimental"
)

// pageSize is the unit of WebAssembly memory, in bytes.
const pageSize = 64 << 10

// arena is one instance's memory: address space for all it may ever have,
// reserved at once and filled in by the operating system as it is touched. It
// never moves, costs no copy when it grows, and is no weight on Go's collector.
type arena struct {
	room    []byte
	refused bool // it wanted more than its limit
}

var _ experimental.LinearMemory = (*arena)(nil)

// newArena reserves limit bytes. Errors: no address space left.
func newArena(limit uint64) (*arena, error) {
	room, err := unix.Mmap(-1, 0, int(limit), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	return &arena{room: room}, err
}

// Allocate implements experimental.MemoryAllocator.
func (a *arena) Allocate(_, _ uint64) experimental.LinearMemory { return a }

// Reallocate implements experimental.LinearMemory: nil above the limit, which
// makes the module's own request fail.
func (a *arena) Reallocate(size uint64) []byte {
	if size > uint64(len(a.room)) {
		a.refused = true
		return nil
	}
	return a.room[:size:size]
}

// Free implements experimental.LinearMemory.
func (a *arena) Free() {
	if a.room != nil {
		// The only error is an address that is not mapped.
		_ = unix.Munmap(a.room)
		a.room = nil
	}
}
