package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
)

func (a *app) why() *cobra.Command {
	return &cobra.Command{Use: "why NAME", Short: "why it does not run, and what would help",
		Long: "Explains for every node what speaks against it: how much is short of what, who holds\n" +
			"it, and which change would let it run. Every proposed change was tried on a copy.",
		Example: "  drupe why hello\n  drupe why service/hello -o json",
		Args:    want(1, 1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			ref, err := a.ref(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			why, err := cl.Why(c.Context(), ref)
			if err != nil {
				return err
			}
			return a.result(why, func() { a.showWhy(&why) })
		}}
}

func (a *app) showWhy(w *sdk.Why) {
	fmt.Fprintf(a.out, "%s: %s\n", w.Ref, oneLine(w.Message))
	for i := range w.Demands {
		if d := &w.Demands[i]; d.Waiting > 0 {
			a.showWhyDemand(d, w.Ref)
		}
	}
}

func (a *app) showWhyDemand(d *sdk.WhyDemand, ref sdk.Ref) {
	fmt.Fprintf(a.out, "\n%d waiting: %s\n", d.Waiting, oneLine(d.Message))
	reason := ""
	if d.Reason != sdk.ReasonNone {
		reason = d.Reason.String()
	}
	a.fields("needs", d.Needs.String(), "role", string(d.Role), "reason", reason)
	if len(d.Counts) > 0 {
		fmt.Fprintln(a.out)
		t := newTable("NODES", "REASON")
		for _, c := range d.Counts {
			t.add(number(int64(c.Nodes)), c.Reason.String())
		}
		a.write(t)
	}
	if len(d.Nodes) > 0 {
		fmt.Fprintln(a.out)
		t := newTable("NEAREST", "WHAT IS SHORT", "HELD BY")
		for i := range d.Nodes {
			n := &d.Nodes[i]
			t.add(n.Name, lacks(n.Lacks), holders(n.Holders))
		}
		a.write(t)
	}
	if len(d.Fixes) > 0 {
		fmt.Fprintln(a.out, "\nWhat would help:")
		for _, f := range d.Fixes {
			fmt.Fprintf(a.out, "  %s\n", oneLine(f.Message))
			if f.Field == "instances" {
				fmt.Fprintf(a.out, "    drupe scale %s %s\n", ref, oneLine(f.Value))
			} else if f.Field != "" {
				fmt.Fprintf(a.out, "    %s: %s\n", oneLine(f.Field), oneLine(f.Value))
			}
		}
	}
}

// lacks says what speaks against a node.
func lacks(list []sdk.WhyLack) string {
	parts := make([]string, len(list))
	for i, l := range list {
		switch {
		case l.Short > 0 && l.Resource != "":
			parts[i] = fmt.Sprintf("%s %s short, %s free of %s", l.Resource, sdk.FormatQuantity(l.Resource, l.Short),
				sdk.FormatQuantity(l.Resource, l.Free), sdk.FormatQuantity(l.Resource, l.Need))
		case l.Detail != "":
			parts[i] = l.Detail
		default:
			parts[i] = l.Reason.String()
		}
	}
	return strings.Join(parts, "; ")
}

func holders(list []sdk.WhyHolds) string {
	parts := make([]string, len(list))
	for i, h := range list {
		parts[i] = fmt.Sprintf("%s %s", h.Ref, sdk.FormatQuantity(h.Resource, h.Amount))
	}
	return strings.Join(parts, ", ")
}
