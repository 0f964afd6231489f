//go:build !wasip1

package guest

import (
	"fmt"
	"os"
)

// Log writes one line to the server's log, under the plugin's name. What is
// longer than MaxLine, or too much for one call, is cut off there.
//
// Natively it goes to standard error.
func Log(line string) { fmt.Fprintln(os.Stderr, line) }
