package cli

import "github.com/spf13/pflag"

// GrantOptions are what an operator lets tasks ask for of a node, by name; see
// agent/grant.
type GrantOptions struct {
	Allow, Deny []string
}

func (o *GrantOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.Allow, "allow", nil, "grant tasks `what`: process, cap:NAME, host:pid, device:/dev/x, path:/srv")
	f.StringArrayVar(&o.Deny, "deny", nil, "take `what` from tasks: network:host, cap:CHOWN")
}
