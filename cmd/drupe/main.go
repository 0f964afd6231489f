// Command drupe is server, agent and command line in one.
package main

import (
	"os"

	"github.com/drupe-os/drupe/cmd/cli"
	"github.com/drupe-os/drupe/cmd/serve"
	"github.com/drupe-os/drupe/cue/worker"
)

func main() {
	if len(os.Args) > 1 { // what drupe starts of itself
		switch os.Args[1] {
		case worker.Argument:
			os.Exit(worker.Main())
		case serve.BroomArgument:
			os.Exit(serve.Broom(os.Args[2:]))
		}
	}
	cli.RunDev, cli.RunServer, cli.RunAgent = serve.Dev, serve.Server, serve.Agent
	cli.RunDoctor = serve.Doctor
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
