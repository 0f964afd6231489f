package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

func (a *app) events() *cobra.Command {
	var follow bool
	var kind, after string
	c := &cobra.Command{Use: "events [NAME]", Short: "what happened, and what happens",
		Long: "Shows what is kept of the past; with -f it goes on as things happen. -o json gives\n" +
			"one event a line; its index and part, as INDEX.PART, can be given to --after.",
		Example: "  drupe events\n  drupe events -f hello\n  drupe events --kind task.updated -o json",
		Args:    want(0, 1, ""),
		RunE: func(c *cobra.Command, args []string) error {
			w := client.Watch{Kind: kind}
			if after != "" {
				p, err := sdk.ParsePosition(after)
				if err != nil {
					return err
				}
				w.After = &p
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			if len(args) > 0 {
				if w.Ref, err = a.ref(c.Context(), cl, args[0]); err != nil {
					return err
				}
			}
			return a.showEvents(c.Context(), cl, w, follow)
		}}
	f := c.Flags()
	f.BoolVarP(&follow, "follow", "f", false, "go on as things happen")
	f.StringVar(&kind, "kind", "", "only this `kind`: task.updated, or task for all of them")
	f.StringVar(&after, "after", "", "only those after this `place`")
	return c
}

func (a *app) showEvents(ctx context.Context, c *client.Client, w client.Watch, follow bool) error {
	past, index, err := c.RecentEvents(ctx, w)
	if err != nil {
		return err
	}
	for i := range past {
		if err := a.event(&past[i]); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	next := sdk.EndOf(index)
	if n := len(past); n > 0 && next.Before(sdk.PositionOf(&past[n-1])) {
		next = sdk.PositionOf(&past[n-1])
	}
	w.After = &next
	for e, err := range c.Events(ctx, w) {
		if errors.Is(err, context.Canceled) {
			return errInterrupted
		}
		if err != nil {
			return err
		}
		if err := a.event(&e); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) event(e *sdk.Event) error {
	if a.json() {
		return writeJSONLine(a.out, e)
	}
	at := time.UnixMilli(int64(e.Time)).Format("2006-01-02 15:04:05")
	_, err := fmt.Fprintf(a.out, "%s  %-18s  %s\n", at, e.Kind, oneLine(describe(e)))
	return err
}

// describe says in a line what an event tells.
func describe(e *sdk.Event) string {
	var b strings.Builder
	switch {
	case e.Document != nil:
		d := e.Document
		b.WriteString(d.Ref.String())
		if e.Kind == sdk.EventDocumentStatus {
			fmt.Fprintf(&b, "  %s, %d of %d healthy", d.Status.Phase, d.Status.Healthy, d.Status.Wanted)
			addText(&b, d.Status.Message)
		} else if e.Kind != sdk.EventDocumentRemoved {
			fmt.Fprintf(&b, "  version %d", d.Version)
		}
	case e.Task != nil:
		t := sdk.TaskView{Task: *e.Task}
		fmt.Fprintf(&b, "%s  %s", t.ID, stateOf(&t))
		if h := taskHealth(&t); h != "" {
			b.WriteString(", " + h)
		}
		addText(&b, reasonOf(&t))
	case e.Node != nil:
		fmt.Fprintf(&b, "node/%s  %s", e.Node.Name, e.Node.Liveness)
	case e.Role != nil:
		b.WriteString("role/" + string(e.Role.Path))
	case e.Plugin != nil:
		fmt.Fprintf(&b, "plugin/%s  %s", e.Plugin.Manifest.Name, e.Plugin.Manifest.Version)
		addText(&b, e.Plugin.Detail)
	case e.Offer != nil:
		fmt.Fprintf(&b, "offer %d of %s to %s: %s", e.Offer.ID, e.Offer.NodeName, e.Offer.Plugin, e.Offer.Resources)
	case e.Policy != nil:
		fmt.Fprintf(&b, "%s instead of %s", e.Policy.Active, e.Policy.Previous)
	}
	addText(&b, e.Message)
	if e.By != "" {
		b.WriteString("  by " + e.By)
	}
	return b.String()
}

func addText(b *strings.Builder, s string) {
	if s != "" {
		b.WriteString("  " + s)
	}
}

// writeJSONLine writes one object of a stream.
func writeJSONLine(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
