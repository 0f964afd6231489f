package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

// maxModule is the server's bound, checked before a long upload.
const maxModule = 32 << 20

func (a *app) plugin() *cobra.Command {
	return noun("plugin", "what is plugged in", "  drupe plugin ls\n  drupe plugin show drf\n  drupe plugin install binpack.wasm",
		&cobra.Command{Use: "ls", Aliases: lsAliases, Short: "list plugins",
			Example: "  drupe plugin ls\n  drupe plugin ls -o json", Args: want(0, 0, ""),
			RunE: func(c *cobra.Command, _ []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				plugins, _, err := cl.Plugins(c.Context())
				if err != nil {
					return err
				}
				return a.result(plugins, func() {
					t := newTable("PLUGIN", "VERSION", "POINT", "STATE", "CALLS", "REJECTED", "P99", "KINDS")
					for i := range plugins {
						p := &plugins[i]
						t.add(string(p.Manifest.Name), p.Manifest.Version, string(p.Manifest.Point), pluginState(p),
							number(int64(p.Calls)), number(int64(p.Rejected)), micros(p.Latency.P99), strings.Join(p.Manifest.Kinds, " "))
					}
					a.write(t)
				})
			}},
		&cobra.Command{Use: "show PLUGIN", Aliases: showAliases, Short: "one plugin",
			Example: "  drupe plugin show drf", Args: want(1, 1, "PLUGIN"),
			RunE: func(c *cobra.Command, args []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				return a.showPlugin(c.Context(), cl, sdk.PluginName(args[0]))
			}},
		&cobra.Command{Use: "install FILE", Short: "install a module",
			Long:    "Sends a WebAssembly module to the cluster, which checks and compiles it. A plugin of the\nsame name is replaced without loss.",
			Example: "  drupe plugin install binpack.wasm", Args: want(1, 1, "FILE"),
			RunE: func(c *cobra.Command, args []string) error { return a.install(c.Context(), args[0]) }})
}

func (a *app) install(ctx context.Context, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return sdk.Errorf(sdk.NotFound, file, "cannot be read").Because("%v", err)
	}
	if info.Size() > maxModule {
		return sdk.Errorf(sdk.TooLarge, file, "is %s", sdk.FormatBytes(info.Size())).Because("a module may have %s", sdk.FormatBytes(maxModule))
	}
	module, err := os.ReadFile(file)
	if err != nil {
		return sdk.Errorf(sdk.NotFound, file, "cannot be read").Because("%v", err)
	}
	if !strings.HasPrefix(string(module), "\x00asm") {
		return &exitError{code: ExitInvalid, error: sdk.Errorf(sdk.Invalid, file, "is no WebAssembly module").ToFix("build one with GOOS=wasip1 GOARCH=wasm")}
	}
	cl, err := a.connect()
	if err != nil {
		return err
	}
	a.progress("installing %s", file)
	p, err := cl.Install(ctx, module)
	if err != nil {
		return invalidDocument(err)
	}
	return a.result(p, func() {
		fmt.Fprintf(a.out, "plugin/%s %s installed, generation %d\n", p.Manifest.Name, p.Manifest.Version, p.Generation)
		if p.Manifest.Point == sdk.PointPolicy {
			a.progress("schedule with it: drupe policy use %s", p.Manifest.Name)
		}
	})
}

func pluginState(p *sdk.PluginView) string {
	switch {
	case p.Quarantined:
		return "quarantined"
	case p.Active:
		return "active"
	}
	return "idle"
}

// micros writes microseconds in the unit that suits.
func micros(us int64) string {
	switch {
	case us == 0:
		return "-"
	case us < 1000:
		return fmt.Sprintf("%dus", us)
	case us < 1_000_000:
		return fmt.Sprintf("%d.%dms", us/1000, us%1000/100)
	}
	return fmt.Sprintf("%d.%ds", us/1_000_000, us%1_000_000/100_000)
}

func (a *app) showPlugin(ctx context.Context, c *client.Client, name sdk.PluginName) error {
	p, err := c.Plugin(ctx, name)
	if err != nil {
		return err
	}
	return a.result(p, func() {
		m := &p.Manifest
		fmt.Fprintf(a.out, "plugin/%s  %s\n", m.Name, a.paint(stateColor(pluginState(&p)), a.out, pluginState(&p)))
		var roles []string
		for _, r := range m.Roles {
			roles = append(roles, roleName(r))
		}
		a.fields("summary", m.Summary, "version", m.Version, "point", string(m.Point), "kinds", strings.Join(m.Kinds, " "),
			"roles", strings.Join(roles, " "), "detail", p.Detail, "abi", number(int64(m.ABI)), "size", sdk.FormatBytes(p.Size), "digest", string(p.Digest),
			"installed", a.ago(p.Installed)+" by "+p.By+", generation "+number(int64(p.Generation)),
			"calls", fmt.Sprintf("%d, %d rejected", p.Calls, p.Rejected),
			"latency", fmt.Sprintf("p50 %s, p99 %s, max %s", micros(p.Latency.P50), micros(p.Latency.P99), micros(p.Latency.Max)))
	})
}
