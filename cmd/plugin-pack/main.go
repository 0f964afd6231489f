// Command plugin-pack puts the manifest of a plugin into its module, so that the
// one file is the whole plugin:
//
//	plugin-pack plugin.cue module.wasm
//
// The module is rewritten in place. A manifest that is wrong is shown with its
// mistakes, and the module is left as it was.
package main

import (
	"fmt"
	"os"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/load"
	"github.com/drupe-os/drupe/sdk/module"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: plugin-pack plugin.cue module.wasm")
		os.Exit(2)
	}
	m, diags := load.Manifest(os.Args[1])
	if len(diags) > 0 {
		_ = diagnose.Render(os.Stderr, diags, false) // nobody to tell if stderr is gone
		os.Exit(1)
	}
	wasm, err := os.ReadFile(os.Args[2])
	if err == nil {
		wasm, err = module.WithManifest(wasm, m)
	}
	if err == nil {
		err = replace(os.Args[2], wasm)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "plugin-pack:", err)
		os.Exit(1)
	}
}

// replace writes the file anew beside the old one and moves it there, so that
// nobody ever reads half a module.
func replace(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
