package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"sync"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

func (a *app) logs() *cobra.Command {
	var o client.LogOptions
	c := &cobra.Command{Use: "logs NAME|TASK", Short: "what tasks write",
		Long: "Shows the output of a task, or of all tasks of a service or job merged by time, each\n" +
			"line with its task. With -f it goes on, and takes in tasks that are started later.",
		Example: "  drupe logs hello\n  drupe logs -f hello\n  drupe logs hello.4f --tail 20 --stream stderr",
		Args:    want(1, 1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if o.Stream != "" && o.Stream != "stdout" && o.Stream != "stderr" {
				return usagef(c, "--stream %s: use stdout or stderr", o.Stream)
			}
			cl, err := a.connect()
			if err != nil {
				return err
			}
			l := &logReader{app: a, c: cl, o: o}
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
	return c
}

// logReader writes the output of one or many tasks.
type logReader struct {
	*app
	c *client.Client
	o client.LogOptions

	mu     sync.Mutex // one line at a time
	prefix bool       // name the task of each line
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
	text := v.Bytes
	if text == nil {
		text = []byte(v.Text)
	}
	var b bytes.Buffer
	if l.prefix {
		fmt.Fprintf(&b, "%s | ", v.Task)
	}
	b.Write(text)
	if !v.Partial || l.prefix {
		b.WriteByte('\n')
	}
	_, err := io.Copy(l.out, &b)
	return err
}
