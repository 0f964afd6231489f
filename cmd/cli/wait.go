package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

// What can be waited for.
const (
	goalReady   = "ready"
	goalHealthy = "healthy"
	goalStopped = "stopped"
	goalGone    = "gone"
	goalDone    = "done"
)

func (a *app) wait() *cobra.Command {
	var goal string
	var timeout time.Duration
	c := &cobra.Command{Use: "wait NAME...", Short: "wait until something is so",
		Long: "Waits until every NAME is\n" +
			"  ready    as declared, or a job that is done\n  healthy  ready, and every instance healthy\n" +
			"  stopped  stopped, with nothing running\n  gone     removed, with nothing running\n  done     a job with nothing more to run\n" +
			"Ctrl-C stops the waiting only.",
		Example: "  drupe wait hello\n  drupe wait hello --for healthy --timeout 30s\n  drupe rm hello --yes && drupe wait service/hello --for gone",
		Args:    want(1, -1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			switch goal {
			case goalReady, goalHealthy, goalStopped, goalGone, goalDone:
			default:
				return usagef(c, "--for %s: use ready, healthy, stopped, gone or done", goal)
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			var refs []sdk.Ref
			for _, arg := range args {
				ref, err := a.ref(c.Context(), cl, arg)
				if goal == goalGone && sdk.KindOf(err) == sdk.NotFound {
					continue
				}
				if err != nil {
					return err
				}
				refs = append(refs, ref)
			}
			return a.waitAll(c.Context(), cl, refs, goal, timeout)
		}}
	c.Flags().StringVar(&goal, "for", goalReady, "ready, healthy, stopped, gone or done")
	c.Flags().DurationVar(&timeout, "timeout", 0, "at most this `long` (default: for ever)")
	return c
}

// waitAll waits for every ref. timeout 0 is for ever.
func (a *app) waitAll(ctx context.Context, c *client.Client, refs []sdk.Ref, goal string, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	for _, ref := range refs {
		w := waiter{app: a, c: c, ref: ref, goal: goal}
		err := w.run(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return w.late(timeout)
		case errors.Is(err, context.Canceled):
			fmt.Fprintf(a.err, "\nno longer waiting; the cluster goes on\n  to go on waiting: drupe wait %s --for %s\n", ref, goal)
			return errInterrupted
		case err != nil:
			return err
		}
	}
	return nil
}

// waiter follows one document until its goal is reached.
type waiter struct {
	*app
	c    *client.Client
	ref  sdk.Ref
	goal string

	exists  bool
	version uint64
	stopped bool
	status  sdk.DocumentStatus
	said    string
}

// run waits. A watcher that was overtaken by events looks anew.
func (w *waiter) run(ctx context.Context) error {
	for {
		err := w.watch(ctx)
		if sdk.KindOf(err) != sdk.Conflict {
			return err
		}
	}
}

func (w *waiter) watch(ctx context.Context) error {
	docs, index, err := w.c.Documents(ctx, client.Query{Ref: w.ref})
	if err != nil {
		return err
	}
	w.exists = false
	for _, d := range docs {
		w.exists, w.version, w.stopped, w.status = true, d.Version, d.Stopped, d.Status
	}
	if !w.exists && w.goal != goalGone {
		return sdk.Errorf(sdk.NotFound, w.ref.String(), "there is no such document").ToFix("see what there is: drupe ps")
	}
	if done, err := w.reached(ctx); done || err != nil {
		return err
	}
	after := sdk.EndOf(index)
	for e, err := range w.c.Events(ctx, client.Watch{After: &after, Ref: w.ref}) {
		if err != nil {
			return err
		}
		if d := e.Document; d != nil {
			w.exists, w.version, w.stopped, w.status = e.Kind != sdk.EventDocumentRemoved, d.Version, d.Stopped, d.Status
		}
		if done, err := w.reached(ctx); done || err != nil {
			return err
		}
	}
	return sdk.Errorf(sdk.Unavailable, w.ref.String(), "the events ended")
}

// reached reports whether the goal is reached, or why it never will be.
func (w *waiter) reached(ctx context.Context) (bool, error) {
	s := w.status
	current := s.Version == w.version // the status speaks of what is declared now
	switch {
	case w.goal == goalGone:
		if w.exists {
			return false, nil
		}
		return w.nothingRuns(ctx)
	case !w.exists:
		return false, sdk.Errorf(sdk.NotFound, w.ref.String(), "was removed meanwhile")
	case w.goal == goalStopped:
		if !w.stopped {
			return false, nil
		}
		return w.nothingRuns(ctx)
	}
	w.tell(current)
	if !current {
		return false, nil
	}
	if s.Phase == sdk.PhaseFailed {
		return false, &exitError{code: ExitDeploy, error: sdk.Errorf(sdk.Internal, w.ref.String(), "failed").
			Because("%s", s.Message).ToFix("look at: drupe show %s and drupe logs %s", w.ref, w.ref)}
	}
	switch w.goal {
	case goalHealthy:
		return s.Phase == sdk.PhaseReady && s.Healthy >= s.Wanted, nil
	case goalDone:
		return s.Phase == sdk.PhaseDone, nil
	}
	return s.Phase == sdk.PhaseReady || s.Phase == sdk.PhaseDone, nil
}

func (w *waiter) nothingRuns(ctx context.Context) (bool, error) {
	live, _, err := w.c.Tasks(ctx, client.Query{Ref: w.ref, State: "live"})
	return err == nil && len(live) == 0, err
}

// tell shows progress when there is some.
func (w *waiter) tell(current bool) {
	phase := string(w.status.Phase)
	if phase == "" || !current {
		phase = "taken up"
	}
	say := fmt.Sprintf("%s: %s, %d of %d healthy", w.ref, phase, w.status.Healthy, w.status.Wanted)
	if current && w.status.Message != "" {
		say += " - " + w.status.Message
	}
	if say != w.said {
		w.said = say
		w.progress("%s", say)
	}
}

// late explains a wait that ran out: not placeable is more than late.
func (w *waiter) late(timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if w.goal != goalGone && w.goal != goalStopped {
		if why, err := w.c.Why(ctx, w.ref); err == nil {
			for _, d := range why.Demands {
				if d.Waiting > 0 && d.Reason != sdk.ReasonBackoff && d.Reason != sdk.ReasonNotConsidered {
					return sdk.Errorf(sdk.Unplaceable, w.ref.String(), "is not %s after %s: %d not placed", w.goal, timeout, d.Waiting).
						Because("%s", d.Message).ToFix("drupe why %s", w.ref)
				}
			}
		}
	}
	return &exitError{code: ExitTimeout, error: sdk.Errorf(sdk.Timeout, w.ref.String(), "is not %s after %s", w.goal, timeout).
		Because("%s", w.said).ToFix("wait longer, or look at: drupe show %s", w.ref)}
}
