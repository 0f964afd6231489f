// Command drupe-wasm runs a WebAssembly module in a task's container, and
// compiles modules for the node. It is embedded in drupe; nobody runs it by
// hand.
package main

import (
	"os"

	"github.com/drupe-os/drupe/isolation/wasm"
)

func main() { os.Exit(wasm.Main()) }
