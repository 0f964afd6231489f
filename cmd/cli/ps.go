package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

// running is the result of ps: two lists of the API.
type running struct {
	Documents []sdk.Document `json:"documents"`
	Tasks     []sdk.TaskView `json:"tasks"`
}

func (a *app) ps() *cobra.Command {
	var q client.Query
	var role string
	var all bool
	c := &cobra.Command{Use: "ps [NAME]", Short: "what runs",
		Long: "Shows what is declared to run, and the tasks of each. Ended tasks are left out\n" +
			"unless --all is given. -o wide adds what each uses, its devices, and why it ends.",
		Example: "  drupe ps\n  drupe ps hello\n  drupe ps --node n1 --all\n  drupe ps -o wide",
		Args:    want(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			q.Role = sdk.RolePath(role)
			if len(args) > 0 {
				if q.Ref, err = a.ref(c.Context(), cl, args[0]); err != nil {
					return err
				}
			}
			if q.State = "live"; all {
				q.State = ""
			}
			r, err := fetchRunning(c.Context(), cl, q)
			if err != nil {
				return err
			}
			return a.result(r, func() { a.showRunning(r) })
		}}
	f := c.Flags()
	f.StringVar(&role, "role", "", "only of this `role` and those below it")
	f.StringVar(&q.Node, "node", "", "only tasks on this `node`")
	f.BoolVarP(&all, "all", "a", false, "ended tasks too")
	return c
}

func fetchRunning(ctx context.Context, c *client.Client, q client.Query) (running, error) {
	docs, _, err := c.Documents(ctx, client.Query{Ref: q.Ref, Role: q.Role})
	if err != nil {
		return running{}, err
	}
	r := running{Documents: []sdk.Document{}}
	for _, d := range docs {
		if d.Ref.Kind != sdk.KindRole && d.Ref.Kind != sdk.KindNode {
			r.Documents = append(r.Documents, d)
		}
	}
	r.Tasks, _, err = c.Tasks(ctx, q)
	return r, err
}

func (a *app) showRunning(r running) {
	if len(r.Documents) == 0 && len(r.Tasks) == 0 {
		a.progress("nothing is declared; begin with: drupe apply -f FILE")
		return
	}
	head := []string{"NAME", "STATE", "HEALTH", "NODE", "PORTS", "AGE"}
	if a.wide() {
		head = append(head, "CPUS", "MEM", "PIDS", "DEVICES", "WHY")
	}
	t := newTable(head...)
	byRef := map[sdk.Ref][]sdk.TaskView{}
	for _, task := range r.Tasks {
		byRef[task.Ref] = append(byRef[task.Ref], task)
	}
	for _, d := range r.Documents {
		t.add(d.Ref.String(), phaseOf(&d), healthOf(&d), "", "", a.age(d.Changed))
		for _, task := range byRef[d.Ref] {
			a.addTask(t, &task)
		}
		delete(byRef, d.Ref)
	}
	for _, task := range r.Tasks { // whose document is gone
		if _, ok := byRef[task.Ref]; ok {
			a.addTask(t, &task)
		}
	}
	a.write(t)
}

func (a *app) addTask(t *table, task *sdk.TaskView) {
	cells := []string{"  " + string(task.ID), stateOf(task), taskHealth(task), task.NodeName, portsOf(task), a.age(task.Created)}
	if a.wide() {
		cpus, mem, pids := "", "", ""
		if v := task.Usage; v != nil {
			cpus, mem, pids = of(sdk.CPUs, int64(v.CPUs), task.Resources), of(sdk.Mem, v.Mem, task.Resources), number(v.Pids)
		}
		cells = append(cells, cpus, mem, pids, devicesOf(task), whyOf(task))
	}
	t.add(cells...)
}

// devicesOf lists what a task holds of identified devices.
func devicesOf(t *sdk.TaskView) string {
	parts := make([]string, len(t.Devices))
	for i, d := range t.Devices {
		if parts[i] = d.ID; d.Share != 1000 {
			parts[i] = sdk.FormatQuantity(d.Resource, int64(d.Share)) + " of " + d.ID
		}
	}
	return strings.Join(parts, " ")
}

// whyOf says why a task ends or ended, or was not resized.
func whyOf(t *sdk.TaskView) string {
	switch {
	case t.GoalMessage != "":
		return t.GoalReason.String() + ": " + t.GoalMessage
	case t.GoalReason != sdk.ReasonNone:
		return t.GoalReason.String()
	case t.Status.Reason != sdk.ReasonNone:
		return t.Status.Reason.String()
	case t.Refused != nil:
		return "not resized: " + t.Refused.Message
	}
	return ""
}

func phaseOf(d *sdk.Document) string {
	switch {
	case d.Stopped && d.Status.Running > 0:
		return "stopping"
	case d.Stopped:
		return string(sdk.PhaseStopped)
	case d.Status.Phase == "":
		return string(sdk.PhasePending)
	case d.Status.Version != d.Version && d.Status.Phase == sdk.PhaseReady:
		return string(sdk.PhaseDeploying)
	}
	return string(d.Status.Phase)
}

func healthOf(d *sdk.Document) string {
	return fmt.Sprintf("%d/%d", d.Status.Healthy, d.Status.Wanted)
}

func stateOf(t *sdk.TaskView) string {
	if t.Unreachable && !t.Status.State.Terminal() {
		return "unreachable"
	}
	return t.Status.State.String()
}

func taskHealth(t *sdk.TaskView) string {
	if t.Status.State != sdk.Running || t.Status.Health == sdk.HealthUnknown {
		return ""
	}
	return t.Status.Health.String()
}

func portsOf(t *sdk.TaskView) string {
	parts := make([]string, len(t.Ports))
	for i, p := range t.Ports {
		parts[i] = p.Name + ":" + strconv.Itoa(int(p.Port))
	}
	return strings.Join(parts, " ")
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
