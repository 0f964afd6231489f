//go:build wasip1

package guest

import "unsafe"

//go:wasmimport drupe log
func hostLog(text string)

// Log writes one line to the server's log, under the plugin's name. What is
// longer than MaxLine, or too much for one call, is cut off there.
func Log(line string) { hostLog(line) }

// Pack joins the address and the length of b, as an export hands bytes out. The
// bytes must stay referenced until the host has read them.
func Pack(b []byte) uint64 {
	if len(b) == 0 {
		return 0
	}
	return uint64(uintptr(unsafe.Pointer(&b[0])))<<32 | uint64(len(b))
}
