package keeper

import "runtime/debug"

// runcVersion is that of runc's libraries in this program; "" when it was built
// without saying.
func runcVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == "github.com/opencontainers/runc" {
			return m.Version
		}
	}
	return ""
}
