package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/drupe-os/drupe/sdk/session"
)

func (a *app) exec() *cobra.Command {
	q := &session.Request{Op: session.Exec}
	c := &cobra.Command{Use: "exec NAME|TASK -- COMMAND...", Short: "run a program where a task runs",
		Long: "Runs a program in the container of a task, or of one of the running tasks of a service\n" +
			"or job: with its files, its network, its limits and its user. Its exit code becomes that\n" +
			"of this command; 127 when there is no such program, 126 when it may not be executed.\n\n" +
			"With -t everything typed is the program's, Ctrl-C too. Without, Ctrl-C is passed on as a\n" +
			"signal; the third ends the session. A program whose session ends is killed.",
		Example: "  drupe exec -it hello -- sh\n  drupe exec hello.4f -- cat /etc/hosts\n" +
			"  drupe exec -i redis -- redis-cli -x set key <value.txt\n" +
			"  drupe exec --sidecar proxy --env DEBUG=1 hello -- /bin/proxy status",
		Args: func(c *cobra.Command, args []string) error {
			switch dash := c.ArgsLenAtDash(); {
			case dash > 1:
				return usagef(c, "%q is one argument too many before --", args[1])
			case len(args) == 0 || dash == 0:
				return usagef(c, "NAME or TASK is missing")
			case len(args) == 1:
				return usagef(c, "the command to run is missing: write it after --")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.place(c.Context(), args[0])
			if err != nil {
				return err
			}
			q.Command = args[1:]
			return p.exec(c.Context(), q)
		}}
	f := c.Flags()
	f.BoolVarP(&q.Input, "stdin", "i", false, "pass this command's standard input on")
	f.BoolVarP(&q.TTY, "tty", "t", false, "give it a terminal")
	f.StringVar(&q.Sidecar, "sidecar", "", "the `name` of the sidecar in whose container it runs")
	f.StringArrayVar(&q.Env, "env", nil, "a variable for it, `name=value`; may be repeated")
	f.StringVar(&q.User, "user", "", "the `user` it runs as: a name, uid or uid:gid (default: the task's)")
	f.StringVar(&q.WorkDir, "workdir", "", "the `folder` it begins in (default: the task's)")
	return c
}

// patience is how many signals to interrupt are passed on before the next ends
// the session.
const patience = 2

// exec runs a program to its end, whatever signals come.
func (p *place) exec(ctx context.Context, q *session.Request) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGWINCH)
	defer signal.Stop(signals)
	tty := p.terminal(q)
	q.Size = tty.size()
	conn, err := p.open(ctx, q)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := tty.raw(); err != nil {
		return err
	}
	defer tty.restore()
	gaveUp := make(chan struct{})
	go p.passOn(conn, tty, signals, gaveUp)
	var in io.Reader
	if q.Input {
		in = p.in
	}
	r, err := conn.Run(in, p.out, p.err)
	select {
	case <-gaveUp:
		if err != nil {
			return errInterrupted
		}
	default:
	}
	return ended(r, err)
}

// passOn sends signals, and how large the terminal is, until the session ends.
// A terminal in raw mode sends what is typed as input; signals are then for
// this command, and end the session.
func (p *place) passOn(conn *session.Conn, tty *terminal, signals <-chan os.Signal, gaveUp chan<- struct{}) {
	for interrupts := 0; ; {
		select {
		case <-conn.Done():
			return
		case s := <-signals:
			number, _ := s.(syscall.Signal)
			if number == syscall.SIGWINCH {
				if tty != nil {
					conn.SendJSON(session.Resize, tty.size())
				}
				continue
			}
			if number == syscall.SIGINT {
				interrupts++
			}
			if tty.isRaw() || interrupts > patience {
				close(gaveUp)
				conn.Close()
				return
			}
			conn.Send(session.Signal, []byte{byte(number)})
		}
	}
}

// terminal is the one that a program's terminal is shown on; nil: there is
// none, or the program has none.
type terminal struct {
	fd    int // whose size it has
	in    int // what is typed comes from here; -1: that is no terminal, or nothing is read
	saved *term.State
}

func (p *place) terminal(q *session.Request) *terminal {
	if !q.TTY {
		return nil
	}
	t := &terminal{fd: -1, in: -1}
	for _, end := range []any{p.in, p.out} {
		if f, ok := end.(*os.File); ok && isTerminal(f) {
			t.fd = int(f.Fd())
		}
	}
	if f, ok := p.in.(*os.File); ok && q.Input && isTerminal(f) {
		t.in = int(f.Fd())
	}
	if t.fd < 0 {
		return nil
	}
	return t
}

// size returns how large the terminal is; zero where that cannot be known.
func (t *terminal) size() session.Size {
	if t == nil {
		return session.Size{}
	}
	columns, rows, err := term.GetSize(t.fd)
	if err != nil {
		return session.Size{}
	}
	return session.Size{Rows: uint16(rows), Columns: uint16(columns)}
}

// raw makes the terminal hand over every key as it is.
func (t *terminal) raw() (err error) {
	if t == nil || t.in < 0 {
		return nil
	}
	t.saved, err = term.MakeRaw(t.in)
	return err
}

func (t *terminal) isRaw() bool { return t != nil && t.saved != nil }

// restore makes the terminal what it was before raw.
func (t *terminal) restore() {
	if t.isRaw() {
		term.Restore(t.in, t.saved)
	}
}

func (a *app) attach() *cobra.Command {
	q := &session.Request{Op: session.Attach}
	c := &cobra.Command{Use: "attach NAME|TASK", Short: "watch what a task prints until it ends",
		Long: "Shows what a task prints from now on, stdout and stderr apart, as it comes and byte for\n" +
			"byte. When the task ends, its exit code becomes that of this command. Ctrl-C only stops\n" +
			"watching. What was printed before: drupe logs.",
		Example: "  drupe attach hello\n  drupe attach hello.4f --sidecar proxy",
		Args:    want(1, 1, "NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := a.place(c.Context(), args[0])
			if err != nil {
				return err
			}
			return p.attach(c.Context(), q)
		}}
	c.Flags().StringVar(&q.Sidecar, "sidecar", "", "watch the sidecar of this `name`")
	return c
}

// attach watches until the task ends or ctx is done.
func (p *place) attach(ctx context.Context, q *session.Request) error {
	conn, err := p.open(ctx, q)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	r, err := conn.Run(nil, p.out, p.err)
	if err != nil && ctx.Err() != nil {
		p.progress("no longer attached; %s runs on", p.task)
		return ctx.Err()
	}
	return ended(r, err)
}
