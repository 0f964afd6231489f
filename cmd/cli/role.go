package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

func (a *app) role() *cobra.Command {
	return noun("role", "who shares the cluster", "  drupe role ls\n  drupe role show eng/web",
		&cobra.Command{Use: "ls", Aliases: lsAliases, Short: "list roles with what they hold",
			Long:    "Lists roles. SHARE is the largest part of any resource that the role and those below\nit hold; FAIR is what its weight owes it of its parent's.",
			Example: "  drupe role ls\n  drupe role ls -o json", Args: want(0, 0, ""),
			RunE: func(c *cobra.Command, _ []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				roles, _, err := cl.Roles(c.Context())
				if err != nil {
					return err
				}
				return a.result(roles, func() {
					t := newTable("ROLE", "SHARE", "FAIR", "WAITING", "TASKS", "HELD", "LIMIT")
					for _, r := range roles {
						t.add(roleName(r.Path), share(&r), percent(r.FairShare), number(r.Waiting), number(r.Tasks), r.Held.String(), r.Limit.String())
					}
					a.write(t)
				})
			}},
		&cobra.Command{Use: "show ROLE", Aliases: showAliases, Short: "one role",
			Example: "  drupe role show eng/web\n  drupe role show .    the root", Args: want(1, 1, "ROLE"),
			RunE: func(c *cobra.Command, args []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				return a.showRole(c.Context(), cl, sdk.RolePath(args[0]))
			}})
}

// roleName writes a path; the root, which has none, as ".".
func roleName(p sdk.RolePath) string {
	if p == "" {
		return "."
	}
	return string(p)
}

// percent writes thousandths.
func percent(thousandths int64) string {
	return fmt.Sprintf("%d.%d%%", thousandths/10, thousandths%10)
}

func share(r *sdk.RoleView) string {
	if r.Dominant == "" {
		return percent(r.Share)
	}
	return percent(r.Share) + " " + r.Dominant
}

func (a *app) showRole(ctx context.Context, c *client.Client, path sdk.RolePath) error {
	if path == "." {
		path = ""
	}
	r, err := c.Role(ctx, path)
	if err != nil {
		return err
	}
	return a.result(r, func() {
		declared := "in use, not declared"
		if r.Declared {
			declared = "declared"
		}
		weight := r.Weight
		if weight == 0 {
			weight = 1000
		}
		fmt.Fprintf(a.out, "role/%s  %s\n", roleName(r.Path), declared)
		a.fields("share", share(&r), "fair share", percent(r.FairShare)+" of its parent's", "weight", sdk.FormatQuantity("weight", weight),
			"held", r.Held.String(), "offered", r.Offered.String(), "guarantee", r.Guarantee.String(), "limit", r.Limit.String(),
			"tasks", number(r.Tasks), "waiting", number(r.Waiting))
	})
}
