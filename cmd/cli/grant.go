package cli

import "github.com/spf13/pflag"

// GrantOptions are what an operator lets tasks ask for of a node, by name; see
// agent/grant.
type GrantOptions struct {
	Allow, Deny []string
}

func (o *GrantOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.Allow, "allow", nil, "let tasks ask for `something` of the node: process, cap:NET_ADMIN, host:pid, host:ipc, host:users, device:/dev/fuse, path:/srv/data; may be repeated")
	f.StringArrayVar(&o.Deny, "deny", nil, "keep `something` from tasks that they else might have: network:host, cap:CHOWN; may be repeated")
}
