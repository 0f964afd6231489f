package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

func (a *app) policy() *cobra.Command {
	return noun("policy", "which policy schedules", "  drupe policy show\n  drupe policy use binpack\n  drupe policy undo",
		&cobra.Command{Use: "show", Aliases: append([]string{"ls"}, showAliases...), Short: "the policy in use, and the others",
			Example: "  drupe policy show", Args: want(0, 0, ""),
			RunE: func(c *cobra.Command, _ []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				return a.showPolicy(c.Context(), cl)
			}},
		&cobra.Command{Use: "use POLICY", Short: "schedule with another policy",
			Long:    "Changes the policy between two batches. What runs goes on; only what is placed from\nnow on is placed by the new one.",
			Example: "  drupe policy use binpack", Args: want(1, 1, "POLICY"),
			RunE: func(c *cobra.Command, args []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				change, err := cl.UsePolicy(c.Context(), sdk.PluginName(args[0]))
				if err != nil {
					return err
				}
				return a.showChange(change)
			}},
		&cobra.Command{Use: "undo", Short: "go back to the policy before",
			Example: "  drupe policy undo", Args: want(0, 0, ""),
			RunE: func(c *cobra.Command, _ []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				change, err := cl.UndoPolicy(c.Context())
				if err != nil {
					return err
				}
				return a.showChange(change)
			}})
}

func (a *app) showChange(p sdk.PolicyChange) error {
	return a.result(p, func() {
		if p.Previous == "" || p.Previous == p.Active {
			fmt.Fprintf(a.out, "%s schedules\n", p.Active)
			return
		}
		fmt.Fprintf(a.out, "%s schedules now, instead of %s\n", p.Active, p.Previous)
		a.progress("go back: drupe policy undo")
	})
}

func (a *app) showPolicy(ctx context.Context, c *client.Client) error {
	p, err := c.Policy(ctx)
	if err != nil {
		return err
	}
	return a.result(p, func() {
		if p.Active == "" {
			fmt.Fprintln(a.out, "no policy schedules")
		} else {
			fmt.Fprintf(a.out, "%s schedules\n", p.Active)
		}
		since := a.ago(p.Since)
		if p.By != "" && since != "" {
			since += " by " + p.By
		}
		names := make([]string, len(p.Available))
		for i, n := range p.Available {
			names[i] = string(n)
		}
		a.fields("since", since, "before", string(p.Previous), "installed", strings.Join(names, " "))
	})
}
