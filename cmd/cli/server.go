package cli

import "github.com/spf13/cobra"

// ServerOptions are the flags of drupe server.
type ServerOptions struct {
	Data   string // folder of log, snapshots, keys and modules
	Listen string // the API's address, HOST:PORT
	Agents string // address where agents connect, HOST:PORT
	Name   string // of this server; "": the host's name
	// Context is the name under which the cluster is made known to the user who
	// starts it first; "" makes it known to nobody.
	Context string
	Plugins []string // module files installed at the start
}

func (a *app) server() *cobra.Command {
	var o ServerOptions
	c := &cobra.Command{Use: "server --data FOLDER", Short: "run a server",
		Long: "Runs a server until it is asked to end. The first start makes the cluster's CA and\n" +
			"your token, and writes a context for you.",
		Example: "  drupe server --data /var/lib/drupe\n  drupe server --data /var/lib/drupe --listen 0.0.0.0:4600 --agents 0.0.0.0:4601",
		Args:    want(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Data == "" {
				return usagef(c, "--data is missing")
			}
			if RunServer == nil {
				return notBuilt("drupe server")
			}
			return RunServer(c.Context(), o, a.streams())
		}}
	f := c.Flags()
	f.StringVar(&o.Data, "data", "", "`folder` of everything it keeps")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:4600", "`address` of the API")
	f.StringVar(&o.Agents, "agents", "127.0.0.1:4601", "`address` where agents connect")
	f.StringVar(&o.Name, "name", "", "`name` of this server (default: the host's)")
	f.StringVar(&o.Context, "as", "default", "`name` of the context to write; empty writes none")
	f.StringArrayVar(&o.Plugins, "plugin", nil, "module `file` to install at the start")
	return c
}
