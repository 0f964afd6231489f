package cli

import (
	"github.com/spf13/cobra"
)

// DevOptions are the flags of drupe dev.
type DevOptions struct {
	// Agents is how many nodes to start, each with its share of the machine.
	Agents int
	// Data is the folder of everything kept; "": a new one, removed at the end.
	Data string
	// Listen is the API's address, HOST:PORT; port 0 takes any.
	Listen string
	// Context is the name under which the cluster is made known.
	Context string
	// Plugins are module files installed at the start, beside those built in.
	Plugins []string
	Grants  GrantOptions
}

func (a *app) dev() *cobra.Command {
	var o DevOptions
	c := &cobra.Command{Use: "dev [--agents N]", Short: "a whole cluster on this machine, for trying",
		Long: "A server and some agents in one process, on the loopback address, until Ctrl-C.\n" +
			"At the end nothing is left, unless --data names a folder to keep.",
		Example: "  drupe dev\n  drupe dev --agents 3\n  drupe dev --data ~/drupe    keep everything for the next time",
		Args:    want(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Agents < 0 || o.Agents > 100 {
				return usagef(c, "--agents %d: use 0 to 100", o.Agents)
			}
			if RunDev == nil {
				return notBuilt("drupe dev")
			}
			return RunDev(c.Context(), o, a.streams())
		}}
	f := c.Flags()
	f.IntVar(&o.Agents, "agents", 1, "how many nodes to start")
	f.StringVar(&o.Data, "data", "", "`folder` to keep everything in")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:4600", "`address` of the API; port 0 takes any")
	o.Grants.flags(f)
	f.StringVar(&o.Context, "as", "dev", "`name` of the context to write")
	f.StringArrayVar(&o.Plugins, "plugin", nil, "module `file` to install at the start")
	return c
}

// streams is what a long-running command gets.
func (a *app) streams() Streams { return Streams{Out: a.out, Err: a.err, Getenv: a.getenv} }
