// Command drupe is server, agent and command line in one.
package main

import (
	"os"

	"github.com/drupe-os/drupe/cmd/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
