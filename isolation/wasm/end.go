package wasm

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ended is the program's handler of signals that ask it to end: it does so,
// with 128 and the signal's number, in two system calls' time. Modules know no
// signals. Go's own handling would need the runtime to go on, which a module
// that computes without end does not let it do at every moment.
func ended()

// endedAddress is where ended lies.
func endedAddress() uintptr

// endOn makes the signals end this process.
func endOn(signals ...unix.Signal) error {
	// The kernel's struct sigaction, of amd64 and arm64 alike. The handler
	// does not return, so nothing restores what it interrupts.
	const onStack, restorer = 0x08000000, 0x04000000
	action := struct {
		handler        uintptr
		flags          uint64
		restorer, mask uintptr
	}{endedAddress(), onStack | restorer, endedAddress(), 0}
	for _, s := range signals {
		if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0); errno != 0 {
			return errno
		}
	}
	return nil
}
