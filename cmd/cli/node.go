package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

func (a *app) node() *cobra.Command {
	return noun("node", "the machines", "  drupe node ls\n  drupe node show n1",
		&cobra.Command{Use: "ls", Aliases: lsAliases, Short: "list nodes with what is free",
			Example: "  drupe node ls\n  drupe node ls -o json", Args: want(0, 0, ""),
			RunE: func(c *cobra.Command, _ []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				nodes, _, err := cl.Nodes(c.Context())
				if err != nil {
					return err
				}
				return a.result(nodes, func() {
					t := newTable("NODE", "STATE", "TASKS", "CPUS FREE", "MEM FREE", "DISK FREE", "SINCE")
					for i := range nodes {
						n := &nodes[i]
						t.add(n.Name, liveness(n), number(n.Tasks), part(n, sdk.CPUs), part(n, sdk.Mem), part(n, sdk.Disk), a.age(n.Since))
					}
					a.write(t)
				})
			}},
		&cobra.Command{Use: "show NODE", Aliases: showAliases, Short: "one node with its tasks",
			Example: "  drupe node show n1", Args: want(1, 1, "NODE"),
			RunE: func(c *cobra.Command, args []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				return a.showNode(c.Context(), cl, args[0])
			}})
}

func liveness(n *sdk.NodeView) string {
	if n.Liveness == sdk.NodeUp && n.Cordoned {
		return "cordoned"
	}
	return n.Liveness.String()
}

// part is "free/capacity" of one resource.
func part(n *sdk.NodeView, name string) string {
	capacity := n.Machine.Capacity.Get(name)
	if capacity == 0 {
		return "-"
	}
	return sdk.FormatQuantity(name, n.Free.Get(name)) + "/" + sdk.FormatQuantity(name, capacity)
}

func (a *app) showNode(ctx context.Context, c *client.Client, name string) error {
	n, err := c.Node(ctx, name)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(n)
	}
	tasks, _, err := c.Tasks(ctx, client.Query{Node: string(n.ID), State: "live"})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "node/%s  %s\n", n.Name, a.paint(stateColor(liveness(&n)), a.out, liveness(&n)))
	var ports []string
	for _, r := range n.Machine.Ports {
		ports = append(ports, fmt.Sprintf("%d-%d", r.First, r.Last))
	}
	var reserved []string
	for _, r := range n.Reservations {
		reserved = append(reserved, string(r.Role)+": "+r.Resources.String())
	}
	a.fields("id", string(n.ID), "host", n.Machine.Hostname, "address", n.Machine.Address, "agent", n.Machine.Version,
		"capacity", n.Machine.Capacity.String(), "held", n.Held.String(), "offered", n.Offered.String(), "free", n.Free.String(),
		"ports", strings.Join(ports, ", "), "attributes", attributes(&n), "reserved", strings.Join(reserved, "; "),
		"since", a.ago(n.Since), "joined", a.ago(n.Registered))
	for _, d := range n.Machine.Devices {
		state := "healthy"
		if !d.Healthy {
			state = "not healthy: " + d.Detail
		}
		a.fields(d.Kind, strings.Join([]string{d.ID, d.Model, sdk.FormatBytes(d.Mem), state}, "  "))
	}
	if len(tasks) > 0 {
		fmt.Fprintln(a.out)
		t := newTable("TASK", "STATE", "HEALTH", "OF", "RESOURCES", "AGE")
		for i := range tasks {
			task := &tasks[i]
			t.add(string(task.ID), stateOf(task), taskHealth(task), task.Ref.String(), task.Resources.String(), a.age(task.Created))
		}
		a.write(t)
	}
	return nil
}

// attributes lists a node's attributes; an operator's hides the found one.
func attributes(n *sdk.NodeView) string {
	var parts []string
	seen := map[string]bool{}
	for _, list := range [2][]sdk.Attribute{n.Attributes, n.Machine.Attributes} {
		for _, at := range list {
			if !seen[at.Name] {
				seen[at.Name] = true
				parts = append(parts, at.Name+"="+at.Value)
			}
		}
	}
	return strings.Join(parts, " ")
}
