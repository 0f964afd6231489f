package cli

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
	"github.com/drupe-os/drupe/sdk/logfile"
)

func (a *app) logs() *cobra.Command {
	var o client.LogOptions
	var since, until string
	var stamps bool
	c := &cobra.Command{Use: "logs NAME|TASK", Short: "what tasks write",
		Long: "Shows the output of a task, or of all tasks of a service or job merged by time, each\n" +
			"line with its task. With -f it goes on, and takes in tasks that are started later.\n" +
			"Of the lines that --since, --until and --grep let pass, --tail are the last.",
		Example: "  drupe logs hello\n  drupe logs -f hello\n  drupe logs hello.4f --tail 20 --stream stderr\n" +
			"  drupe logs hello --since 10m --grep 'error|panic' --timestamps",
		Args: want(1, 1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if o.Stream != "" && o.Stream != "stdout" && o.Stream != "stderr" {
				return usagef(c, "--stream %s: use stdout or stderr", o.Stream)
			}
			var err error
			if o.Since, err = moment(c, "since", since, time.Now()); err != nil {
				return err
			}
			if o.Until, err = moment(c, "until", until, time.Now()); err != nil {
				return err
			}
			if _, f := logfile.Pattern(o.Match); f != nil {
				f.Field = "--grep"
				return &exitError{code: ExitUsage, error: f}
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			l := &logReader{app: a, c: cl, o: o, stamps: stamps}
			if ref := sdk.ParseRef(args[0]); ref.Kind == "task" || isTask(args[0]) {
				return l.one(c.Context(), sdk.TaskID(ref.Name))
			}
			ref, err := a.ref(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			return l.all(c.Context(), ref)
		}}
	f := c.Flags()
	f.BoolVarP(&o.Follow, "follow", "f", false, "go on as lines come")
	f.Int64Var(&o.Tail, "tail", 100, "`lines` of each task to begin with; -1 for all")
	f.StringVar(&o.Stream, "stream", "", "stdout or stderr only")
	f.StringVar(&since, "since", "", "lines from this `time` on: 10m (ago), or as 2026-01-31T09:30:00Z")
	f.StringVar(&until, "until", "", "lines before this `time`")
	f.StringVar(&o.Match, "grep", "", "lines that match this regular `expression` (RE2)")
	f.StringVar(&o.Sidecar, "sidecar", "", "the output of this `sidecar`")
	f.BoolVar(&stamps, "timestamps", false, "begin each line with its time (UTC)")
	return c
}

// moment reads a time given as a flag: so long ago, or RFC 3339.
func moment(c *cobra.Command, flag, s string, now time.Time) (sdk.Time, error) {
	if s == "" {
		return 0, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return sdk.Time(now.Add(-d).UnixMilli()), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, usagef(c, "--%s %s: write how long ago, as in 10m, or a time, as in 2026-01-31T09:30:00Z", flag, s)
	}
	return sdk.Time(t.UnixMilli()), nil
}

// logReader writes the output of one or many tasks.
type logReader struct {
	*app
	c *client.Client
	o client.LogOptions

	stamps bool // the time of each line

	mu     sync.Mutex // one line at a time
	prefix bool       // name the task of each line
	inside bool       // the line written last goes on
}

func (l *logReader) one(ctx context.Context, id sdk.TaskID) error {
	for line, err := range l.c.Logs(ctx, id, l.o) {
		if err != nil {
			return err
		}
		if err := l.line(&line); err != nil {
			return err
		}
	}
	return nil
}

func (l *logReader) all(ctx context.Context, ref sdk.Ref) error {
	state := ""
	if l.o.Follow {
		state = "live"
	}
	tasks, index, err := l.c.Tasks(ctx, client.Query{Ref: ref, State: state})
	if err != nil {
		return err
	}
	l.prefix = true
	if l.o.Follow {
		return l.follow(ctx, ref, tasks, index)
	}
	if len(tasks) == 0 {
		l.progress("%s has no tasks; why: drupe why %s", ref, ref)
	}
	return l.merge(ctx, tasks)
}

// merge writes the lines of all tasks in the order of their times.
func (l *logReader) merge(ctx context.Context, tasks []sdk.TaskView) error {
	type head struct {
		line sdk.LogView
		next func() (sdk.LogView, error, bool)
	}
	var heads []*head
	advance := func(h *head) (bool, error) {
		line, err, ok := h.next()
		h.line = line
		return ok && err == nil, err
	}
	for _, t := range tasks {
		next, stop := iter.Pull2(l.c.Logs(ctx, t.ID, l.o))
		defer stop()
		h := &head{next: next}
		more, err := advance(h)
		if err != nil { // one lost node must not hide what the others say
			l.progress("%s: %v", t.ID, err)
		}
		if more {
			heads = append(heads, h)
		}
	}
	for len(heads) > 0 {
		first := 0
		for i, h := range heads {
			if h.line.Time < heads[first].line.Time {
				first = i
			}
		}
		h := heads[first]
		if err := l.line(&h.line); err != nil {
			return err
		}
		more, err := advance(h)
		if err != nil {
			l.progress("%s: %v", h.line.Task, err)
		}
		if !more {
			heads = append(heads[:first], heads[first+1:]...)
		}
	}
	return ctx.Err()
}

// follow reads all tasks at once, and those that are launched meanwhile.
func (l *logReader) follow(ctx context.Context, ref sdk.Ref, tasks []sdk.TaskView, index uint64) error {
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	read := func(id sdk.TaskID, o client.LogOptions) {
		readers.Go(func() {
			for line, err := range l.c.Logs(ctx, id, o) {
				if err == nil {
					err = l.line(&line)
				}
				if err != nil {
					if ctx.Err() == nil {
						l.progress("%s: %v", id, err)
					}
					return
				}
			}
		})
	}
	for _, t := range tasks {
		read(t.ID, l.o)
	}
	after := sdk.EndOf(index)
	started := map[sdk.TaskID]bool{}
	fresh := l.o
	fresh.Tail = -1 // all of what a new task writes is new
	for e, err := range l.c.Events(ctx, client.Watch{After: &after, Ref: ref, Kind: "task"}) {
		if err != nil {
			return err
		}
		// Before it runs there is nothing to read.
		if t := e.Task; t != nil && t.Status.State >= sdk.Running && !started[t.ID] && !contains(tasks, t.ID) {
			started[t.ID] = true
			read(t.ID, fresh)
		}
	}
	return nil
}

func contains(tasks []sdk.TaskView, id sdk.TaskID) bool {
	for _, t := range tasks {
		if t.ID == id {
			return true
		}
	}
	return false
}

// line writes one line. The text is the task's own, so it is passed on as it
// is.
func (l *logReader) line(v *sdk.LogView) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.json() {
		return writeJSONLine(l.out, v)
	}
	var b bytes.Buffer
	begins := l.prefix || !l.inside
	l.inside = v.Partial
	if begins && l.stamps {
		b.WriteString(time.UnixMilli(int64(v.Time)).UTC().Format("2006-01-02T15:04:05.000Z "))
	}
	if l.prefix {
		b.WriteString(l.paint(hue(v.Task), l.out, string(v.Task)+" |") + " ")
	}
	switch {
	case v.Dropped > 0:
		fmt.Fprintf(&b, "-- %d lines dropped: %s --", v.Dropped, v.Text)
	case v.Bytes != nil:
		b.Write(v.Bytes)
	default:
		b.WriteString(v.Text)
	}
	if !v.Partial || l.prefix {
		b.WriteByte('\n')
	}
	_, err := io.Copy(l.out, &b)
	return err
}

// hue is the colour of a task's name: the same wherever and whenever it is
// shown, and none of those that mean something.
func hue(id sdk.TaskID) string {
	hues := [...]string{"34", "35", "36", "94", "95", "96", "90"}
	h := fnv.New32a()
	io.WriteString(h, string(id))
	return hues[h.Sum32()%uint32(len(hues))]
}
