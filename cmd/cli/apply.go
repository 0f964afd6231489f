package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
)

// defaultWait is how long --wait without a time waits.
const defaultWait = 5 * time.Minute

func (a *app) apply() *cobra.Command {
	var files []string
	var wait time.Duration
	var dryRun bool
	c := &cobra.Command{Use: "apply -f PATH", Short: "run what files declare",
		Long: "Checks files as drupe vet does, and only then declares what they hold: all of it or,\n" +
			"if the cluster refuses anything, nothing. Applying the same again changes nothing.\n" +
			"--wait waits until everything is ready; Ctrl-C then leaves the cluster at work.",
		Example: "  drupe apply -f hello.cue\n  drupe apply -f apps/ --wait=2m\n  cat hello.cue | drupe apply -f -",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			if _, err := time.ParseDuration(args[0]); err == nil {
				return usagef(c, "write --wait=%s, in one word", args[0])
			}
			return usagef(c, "%q stands alone; write -f %s", args[0], args[0])
		},
		RunE: func(c *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usagef(c, "-f PATH is missing")
			}
			set, err := a.load(files)
			if err != nil {
				return err
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			applied, err := cl.Apply(c.Context(), request(set), dryRun)
			if err != nil {
				return invalidDocument(err)
			}
			if err := a.result(applied, func() { a.showApplied(applied, dryRun) }); err != nil || dryRun {
				return err
			}
			if !c.Flags().Changed("wait") {
				if len(applied) > 0 {
					a.progress("see how it goes: drupe ps")
				}
				return nil
			}
			var refs []sdk.Ref
			for _, d := range applied {
				if d.Ref.Kind != sdk.KindRole && d.Ref.Kind != sdk.KindNode {
					refs = append(refs, d.Ref)
				}
			}
			return a.waitAll(c.Context(), cl, refs, goalReady, wait)
		}}
	f := c.Flags()
	f.StringArrayVarP(&files, "file", "f", nil, "`path` of a file or folder, or - ; may be repeated")
	f.DurationVar(&wait, "wait", 0, "wait until ready, at most this `long`")
	f.Lookup("wait").NoOptDefVal = defaultWait.String()
	f.BoolVar(&dryRun, "dry-run", false, "only say what would change")
	return c
}

func (a *app) showApplied(applied []sdk.Applied, dryRun bool) {
	t := newTable("NAME", "RESULT", "VERSION")
	for _, d := range applied {
		result := "unchanged"
		switch {
		case d.Changed && d.Version <= 1:
			result = "created"
		case d.Changed:
			result = "changed"
		}
		if dryRun && d.Changed {
			result = "would be " + result
		}
		t.add(d.Ref.String(), result, number(int64(d.Version)))
	}
	a.write(t)
}

// invalidDocument gives the refusal of a document its own exit code.
func invalidDocument(err error) error {
	var f *sdk.Fault
	if errors.As(err, &f) && f.Kind == sdk.Invalid {
		return &exitError{error: f, code: ExitInvalid}
	}
	return err
}
