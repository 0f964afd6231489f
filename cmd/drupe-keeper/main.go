// Command drupe-keeper is the process that node agents start to be the parent
// of their containers. It is embedded in drupe; nobody runs it by hand.
package main

import (
	"os"

	"github.com/drupe-os/drupe/isolation/keeper"
)

func main() { os.Exit(keeper.Main()) }
