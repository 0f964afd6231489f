package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

// using is the result of top: two lists of the API, those that use most first.
type using struct {
	Nodes []sdk.NodeView `json:"nodes"`
	Tasks []sdk.TaskView `json:"tasks"`
}

func (a *app) top() *cobra.Command {
	var q client.Query
	var role string
	var once bool
	var interval time.Duration
	c := &cobra.Command{Use: "top [NAME]", Short: "what uses how much, now",
		Long: "Shows what nodes and tasks use, those that use the most cpu first, again and\n" +
			"again until Ctrl-C. Where the output is no terminal it is shown once.",
		Example: "  drupe top\n  drupe top hello --once\n  drupe top --node n1 --interval 5s\n  drupe top -o json",
		Args:    want(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			if interval < 100*time.Millisecond {
				return usagef(c, "--interval %s: at least 100ms", interval)
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			q.Role, q.State = sdk.RolePath(role), "live"
			if len(args) > 0 {
				if q.Ref, err = a.ref(c.Context(), cl, args[0]); err != nil {
					return err
				}
			}
			if once || a.json() || !isTerminal(a.out) {
				u, err := fetchUsage(c.Context(), cl, q)
				if err != nil {
					return err
				}
				return a.result(u, func() { a.showUsage(u, 0) })
			}
			return a.watchUsage(c.Context(), cl, q, interval)
		}}
	f := c.Flags()
	f.StringVar(&role, "role", "", "only of this `role` and those below it")
	f.StringVar(&q.Node, "node", "", "only this `node`")
	f.BoolVar(&once, "once", false, "show it once")
	f.DurationVar(&interval, "interval", 2*time.Second, "show it again after this `long`")
	return c
}

// fetchUsage asks for what is there and orders it.
func fetchUsage(ctx context.Context, c *client.Client, q client.Query) (u using, err error) {
	u = using{Nodes: []sdk.NodeView{}, Tasks: []sdk.TaskView{}}
	nodes, _, err := c.Nodes(ctx)
	if err != nil {
		return u, err
	}
	for _, n := range nodes {
		if n.Liveness != sdk.NodeGone && (q.Node == "" || n.Name == q.Node || string(n.ID) == q.Node) {
			u.Nodes = append(u.Nodes, n)
		}
	}
	tasks, _, err := c.Tasks(ctx, q)
	if err != nil {
		return u, err
	}
	u.Tasks = append(u.Tasks, tasks...)
	slices.SortStableFunc(u.Nodes, func(a, b sdk.NodeView) int { return byUsage(a.Usage, b.Usage) })
	slices.SortStableFunc(u.Tasks, func(a, b sdk.TaskView) int { return byUsage(a.Usage, b.Usage) })
	return u, nil
}

// byUsage orders by cpu, then mem, the most first and what is not known last.
func byUsage(a, b *sdk.UsageView) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return cmp.Or(cmp.Compare(b.CPUs, a.CPUs), cmp.Compare(b.Mem, a.Mem))
}

// watchUsage shows it on a terminal, again and again.
func (a *app) watchUsage(ctx context.Context, c *client.Client, q client.Query, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		u, err := fetchUsage(ctx, c, q)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how one leaves
		}
		if err != nil {
			return err
		}
		fmt.Fprint(a.out, "\x1b[H\x1b[2J") // home, and an empty screen
		a.showUsage(u, a.height())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// height returns how many lines the output has; 0: no bound.
func (a *app) height() int {
	if f, ok := a.out.(*os.File); ok && isTerminal(f) {
		if _, h, err := term.GetSize(int(f.Fd())); err == nil {
			return h
		}
	}
	return 0
}

// showUsage writes two tables, in so many lines; 0: no bound. Nodes have at
// most a third of them.
func (a *app) showUsage(u using, lines int) {
	nodes, tasks := u.Nodes, u.Tasks
	if lines > 0 {
		nodes = nodes[:min(len(nodes), max(1, lines/3))]
		tasks = tasks[:min(len(tasks), max(1, lines-len(nodes)-4))] // two heads, a gap, the cursor
	}
	t := newTable("NODE", "CPUS", "MEM", "PIDS", "READ/S", "WRITE/S", "TASKS")
	for i := range nodes {
		n := &nodes[i]
		v := n.Usage
		if v == nil {
			t.add(n.Name, "-", "-", "-", "-", "-", number(n.Tasks))
			continue
		}
		t.add(n.Name, of(sdk.CPUs, int64(v.CPUs), n.Machine.Capacity), of(sdk.Mem, v.Mem, n.Machine.Capacity), number(v.Pids),
			sdk.FormatBytes(v.Read), sdk.FormatBytes(v.Write), number(n.Tasks))
	}
	a.write(t)
	if len(tasks) == 0 {
		return
	}
	fmt.Fprintln(a.out)
	t = newTable("TASK", "CPUS", "MEM", "PIDS", "READ/S", "WRITE/S", "NODE")
	for i := range tasks {
		task := &tasks[i]
		v := task.Usage
		if v == nil {
			t.add(string(task.ID), "-", "-", "-", "-", "-", task.NodeName)
			continue
		}
		t.add(string(task.ID), of(sdk.CPUs, int64(v.CPUs), task.Resources), of(sdk.Mem, v.Mem, task.Resources), number(v.Pids),
			sdk.FormatBytes(v.Read), sdk.FormatBytes(v.Write), task.NodeName)
	}
	a.write(t)
}

// of is "used/had" of one resource.
func of(name string, used int64, had sdk.Resources) string {
	s := sdk.FormatQuantity(name, used)
	if v := had.Get(name); v > 0 {
		s += "/" + sdk.FormatQuantity(name, v)
	}
	return s
}
