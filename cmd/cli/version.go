package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
)

// Version is this binary's, set by the linker.
var Version = "0.1.0-dev"

func (a *app) version() *cobra.Command {
	var server bool
	c := &cobra.Command{Use: "version", Short: "what this binary is, or the server",
		Example: "  drupe version\n  drupe version --server -o json",
		Args:    want(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			v := sdk.VersionView{Version: Version, API: "v1", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if server {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				if v, err = cl.Version(c.Context()); err != nil {
					return err
				}
			}
			return a.result(v, func() {
				fmt.Fprintf(a.out, "drupe %s (API %s, %s, %s)\n", v.Version, v.API, v.Go, v.Platform)
			})
		}}
	c.Flags().BoolVar(&server, "server", false, "ask the server")
	return c
}
