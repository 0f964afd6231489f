package cli

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
)

// done is the JSON result of a change that has no other.
type done struct {
	Name   string `json:"name"`
	Result string `json:"result"`
}

func (a *app) scale() *cobra.Command {
	return &cobra.Command{Use: "scale NAME INSTANCES", Short: "change how many instances run",
		Example: "  drupe scale hello 5\n  drupe scale service/hello 0",
		Args:    want(2, 2, "NAME or INSTANCES"),
		RunE: func(c *cobra.Command, args []string) error {
			n, err := strconv.ParseInt(args[1], 10, 64)
			if err != nil || n < 0 {
				return usagef(c, "%q is no number of instances", args[1])
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			ref, err := a.ref(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			applied, err := cl.Scale(c.Context(), ref, n)
			if err != nil {
				return err
			}
			return a.result(applied, func() {
				if applied.Changed {
					fmt.Fprintf(a.out, "%s scaled to %d, version %d\n", ref, n, applied.Version)
				} else {
					fmt.Fprintf(a.out, "%s has %d already\n", ref, n)
				}
			})
		}}
}

func (a *app) stop() *cobra.Command {
	var grace string
	c := &cobra.Command{Use: "stop NAME|TASK", Short: "run it no longer",
		Long: "Stops a service or job until it is applied again: its declaration stays. Given a task,\n" +
			"ends that task only; its service starts another.",
		Example: "  drupe stop hello\n  drupe stop hello.4f --grace 30s",
		Args:    want(1, 1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			var g sdk.Duration
			if grace != "" && g.UnmarshalJSON([]byte(grace)) != nil {
				return usagef(c, "--grace %q: write it as in 30s", grace)
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if ref := sdk.ParseRef(args[0]); ref.Kind == "task" || isTask(args[0]) {
				if err := cl.Kill(c.Context(), sdk.TaskID(ref.Name), g); err != nil {
					return err
				}
				return a.result(done{"task/" + ref.Name, "stopping"}, func() { fmt.Fprintf(a.out, "task/%s is stopping\n", ref.Name) })
			}
			if grace != "" {
				return usagef(c, "--grace is for a task; a service has its own")
			}
			ref, err := a.ref(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			if err := cl.Stop(c.Context(), ref); err != nil {
				return err
			}
			return a.result(done{ref.String(), "stopping"}, func() {
				fmt.Fprintf(a.out, "%s is stopping\n", ref)
				a.progress("wait for it: drupe wait %s --for stopped", ref)
			})
		}}
	c.Flags().StringVar(&grace, "grace", "", "`time` between the polite and the final signal, for a task")
	return c
}

func (a *app) rm() *cobra.Command {
	var yes bool
	c := &cobra.Command{Use: "rm NAME...", Aliases: rmAliases, Short: "remove what was declared",
		Long:    "Stops and removes services, jobs, roles or settings of nodes.",
		Example: "  drupe rm hello\n  drupe rm service/hello job/tidy --yes",
		Args:    want(1, -1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.connect()
			if err != nil {
				return err
			}
			refs := make([]sdk.Ref, len(args))
			names := make([]string, len(args))
			for i, arg := range args {
				if refs[i], err = a.ref(c.Context(), cl, arg); err != nil {
					return err
				}
				names[i] = refs[i].String()
			}
			if !yes && !a.confirm("remove "+strings.Join(names, ", ")) {
				return usagef(c, "not removed: %s needs a yes; add --yes", strings.Join(names, ", "))
			}
			results := []done{}
			for _, ref := range refs {
				if err := cl.Remove(c.Context(), ref); err != nil {
					return err
				}
				results = append(results, done{ref.String(), "removed"})
				if !a.json() {
					fmt.Fprintf(a.out, "%s removed\n", ref)
				}
			}
			if a.json() {
				return a.writeJSON(results)
			}
			return nil
		}}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// confirm asks on a terminal. Without one nobody can answer: no.
func (a *app) confirm(what string) bool {
	if !isTerminal(a.in) {
		return false
	}
	fmt.Fprintf(a.err, "%s? [y/N] ", what)
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
