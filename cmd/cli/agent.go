package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
)

// AgentOptions are the flags of drupe agent.
type AgentOptions struct {
	Data       string          // folder of tasks, images, logs and keys
	Servers    []string        // addresses of the API, to join
	TokenFile  string          // with the token to join
	Name       string          // wanted node name; "": the host's name
	Address    string          // where tasks' ports are reached; "": found
	Attributes []sdk.Attribute // beside those found
	ShareGPUs  bool            // offer GPUs in parts
	Reserve    Reserve         // kept back for the system
	Images     ImageOptions
	Grants     GrantOptions
}

func (a *app) agent() *cobra.Command {
	var o AgentOptions
	var attributes []string
	c := &cobra.Command{Use: "agent --data FOLDER --server ADDRESS", Short: "make this machine a node",
		Long: "Runs the agent of this machine until it is asked to end. Its tasks go on without it\n" +
			"and are found again at the next start.",
		Example: "  drupe agent --data /var/lib/drupe-agent --server 10.0.0.1:4600 --join-token join.token\n" +
			"  drupe agent --data /var/lib/drupe-agent --server 10.0.0.1:4600 --attribute rack=r1",
		Args: want(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Data == "" || len(o.Servers) == 0 {
				return usagef(c, "--data and --server are needed")
			}
			for _, s := range attributes {
				name, value, ok := strings.Cut(s, "=")
				if !ok || name == "" {
					return usagef(c, "--attribute %q: write it as in rack=r1", s)
				}
				o.Attributes = append(o.Attributes, sdk.Attribute{Name: name, Value: value})
			}
			if RunAgent == nil {
				return notBuilt("drupe agent")
			}
			return RunAgent(c.Context(), o, a.streams())
		}}
	f := c.Flags()
	f.StringVar(&o.Data, "data", "", "`folder` of everything it keeps")
	f.StringArrayVar(&o.Servers, "server", nil, "`address` of a server's API; may be repeated")
	f.StringVar(&o.TokenFile, "join-token", "", "`file` with the token to join")
	f.StringVar(&o.Name, "name", "", "`name` of the node (default: the host's)")
	f.StringVar(&o.Address, "address", "", "`address` where tasks' ports are reached (default: found)")
	o.Images.flags(f)
	o.Grants.flags(f)
	f.Var(&o.Reserve, "reserve", "kept back for the system, a `list`: cpus=0.5,mem=512Mi,disk=1Gi")
	f.BoolVar(&o.ShareGPUs, "gpu-share", false, "offer whole GPUs in parts, as gpus-shared in place of gpus")
	f.StringArrayVar(&attributes, "attribute", nil, "`name=value` of this node; may be repeated")
	return c
}
