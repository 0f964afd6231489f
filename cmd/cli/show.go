package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

func (a *app) show() *cobra.Command {
	var source bool
	c := &cobra.Command{Use: "show NAME", Short: "everything about one thing",
		Long:    "Shows a service, job, task, node, role or plugin. See drupe help names.",
		Example: "  drupe show hello\n  drupe show hello.4f\n  drupe show node/n1\n  drupe show hello --source    the CUE it came from",
		Args:    want(1, 1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			return a.showAny(c.Context(), cl, args[0], source)
		}}
	c.Flags().BoolVar(&source, "source", false, "print the text it was declared with")
	return c
}

func (a *app) showAny(ctx context.Context, c *client.Client, name string, source bool) error {
	ref := sdk.ParseRef(name)
	switch {
	case ref.Kind == "task" || isTask(name):
		return a.showTask(ctx, c, sdk.TaskID(ref.Name))
	case name == "policy":
		return a.showPolicy(ctx, c)
	case ref.Kind == "" && !source:
		kind, err := a.kindOf(ctx, c, name)
		if err != nil {
			return err
		}
		ref.Kind = kind
	case ref.Kind == "":
		var err error
		if ref, err = a.ref(ctx, c, name); err != nil {
			return err
		}
	}
	if !source {
		switch ref.Kind {
		case sdk.KindNode:
			return a.showNode(ctx, c, ref.Name)
		case sdk.KindRole:
			return a.showRole(ctx, c, sdk.RolePath(ref.Name))
		case "plugin":
			return a.showPlugin(ctx, c, sdk.PluginName(ref.Name))
		}
	}
	return a.showDocument(ctx, c, ref, source)
}

// kindOf finds of which kind a name is: documents, nodes, roles and plugins.
func (a *app) kindOf(ctx context.Context, c *client.Client, name string) (string, error) {
	docs, _, err := c.Documents(ctx, client.Query{Ref: sdk.Ref{Name: name}})
	if err != nil {
		return "", err
	}
	var kinds []string
	add := func(kind string, err error) error {
		if err == nil {
			for _, k := range kinds {
				if k == kind {
					return nil
				}
			}
			kinds = append(kinds, kind)
		} else if sdk.KindOf(err) != sdk.NotFound && sdk.KindOf(err) != sdk.Invalid {
			return err
		}
		return nil
	}
	for _, d := range docs {
		add(d.Ref.Kind, nil)
	}
	_, err = c.Node(ctx, name)
	if err := add(sdk.KindNode, err); err != nil {
		return "", err
	}
	_, err = c.Role(ctx, sdk.RolePath(name))
	if err := add(sdk.KindRole, err); err != nil {
		return "", err
	}
	_, err = c.Plugin(ctx, sdk.PluginName(name))
	if err := add("plugin", err); err != nil {
		return "", err
	}
	switch len(kinds) {
	case 0:
		return "", a.unknownName(ctx, c, name)
	case 1:
		return kinds[0], nil
	}
	for i := range kinds {
		kinds[i] += "/" + name
	}
	return "", ambiguous(name, kinds)
}

func (a *app) showDocument(ctx context.Context, c *client.Client, ref sdk.Ref, source bool) error {
	d, err := c.Document(ctx, ref)
	if err != nil {
		return err
	}
	if source {
		text := d.Source
		if text == "" {
			text = string(d.Body)
		}
		fmt.Fprintln(a.out, strings.TrimRight(text, "\n"))
		return nil
	}
	if a.json() {
		return a.writeJSON(d)
	}
	tasks, _, err := c.Tasks(ctx, client.Query{Ref: ref})
	if err != nil {
		return err
	}
	s := d.Status
	fmt.Fprintf(a.out, "%s  %s\n", d.Ref, a.paint(stateColor(phaseOf(&d)), a.out, phaseOf(&d)))
	next := ""
	if s.Next != 0 {
		next = s.Next.String()
	}
	a.fields("role", string(d.Role), "instances", fmt.Sprintf("%d wanted, %d running, %d healthy", s.Wanted, s.Running, s.Healthy),
		"message", s.Message, "next run", next,
		"version", fmt.Sprintf("%d, revision %d", d.Version, d.Revision), "changed", a.ago(d.Changed)+" by "+d.By)
	if len(tasks) > 0 {
		fmt.Fprintln(a.out)
		t := newTable("TASK", "STATE", "HEALTH", "NODE", "PORTS", "AGE", "DETAIL")
		for _, task := range tasks {
			t.add(string(task.ID), stateOf(&task), taskHealth(&task), task.NodeName, portsOf(&task), a.age(task.Created), reasonOf(&task))
		}
		a.write(t)
	}
	if s.Running < s.Wanted && !d.Stopped {
		a.progress("see what is lacking: drupe why %s", ref)
	}
	return nil
}

// reasonOf says in a few words why a task is in its state.
func reasonOf(t *sdk.TaskView) string {
	s := t.Status
	var parts []string
	if s.Reason != sdk.ReasonNone {
		parts = append(parts, s.Reason.String())
	}
	if s.State == sdk.Failed && (s.Reason == sdk.ReasonExited || s.Reason == sdk.ReasonSignaled) {
		parts = append(parts, fmt.Sprintf("code %d", s.ExitCode))
	}
	if s.Message != "" {
		parts = append(parts, s.Message)
	}
	return strings.Join(parts, ": ")
}

func (a *app) showTask(ctx context.Context, c *client.Client, id sdk.TaskID) error {
	t, err := c.Task(ctx, id)
	if err != nil {
		return err
	}
	return a.result(t, func() {
		s := t.Status
		fmt.Fprintf(a.out, "task/%s  %s\n", t.ID, a.paint(stateColor(stateOf(&t)), a.out, stateOf(&t)))
		exit := ""
		if s.State == sdk.Finished || s.State == sdk.Failed || s.State == sdk.Killed {
			exit = number(int64(s.ExitCode))
		}
		var at []string
		for _, p := range t.Ports {
			at = append(at, fmt.Sprintf("%s at %s:%d", p.Name, t.Address, p.Port))
		}
		a.fields("of", t.Ref.String(), "node", t.NodeName, "role", string(t.Role), "resources", t.Resources.String(),
			"ports", strings.Join(at, ", "), "health", taskHealth(&t), "detail", reasonOf(&t), "exit code", exit,
			"placed", a.ago(t.Created), "started", a.ago(s.Started), "ended", a.ago(s.Ended))
	})
}
