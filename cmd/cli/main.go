// Package cli is the command line: one file per verb, on the public HTTP API
// only. Loading and checking documents happens here, before anything is sent.
//
// Standard output carries the result and nothing else; progress, hints and
// errors go to standard error. The exit codes are in exit.go.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Main runs one command line and returns its exit code. args are without the
// program's name, env is as os.Environ gives it. It keeps no state, so that it
// can be called again and again; for its duration it takes SIGINT and SIGTERM.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer, env []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: stdin, out: stdout, err: stderr, env: env, now: time.Now}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errInterrupted
	}
	return a.finish(err)
}

// app is one run of the program: where it reads and writes, and what holds for
// every command.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      []string
	now      func() time.Time

	// Flags of every command.
	output  string
	context string
	noColor bool
	quiet   bool
}

// getenv returns a variable's last value.
func (a *app) getenv(name string) string {
	for i := len(a.env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(a.env[i], name+"="); ok {
			return v
		}
	}
	return ""
}

// Groups of commands in the help.
const (
	groupStart  = "start"
	groupApps   = "apps"
	groupLook   = "look"
	groupAdmin  = "admin"
	groupTopics = "topics"
)

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "drupe",
		Short: "many machines run as one",
		Long: "Drupe runs many machines as one: say what shall run, and it is placed, isolated,\n" +
			"counted and kept running.",
		Example: "  drupe dev                         a cluster on this machine\n" +
			"  drupe apply -f hello.cue --wait   run what a file declares\n" +
			"  drupe ps                          what runs\n" +
			"  drupe why hello                   why it does not",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkFlags() },
		RunE:              group,
		Args:              cobra.ArbitraryArgs,
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.output, "output", "o", "table", "table, wide or json")
	f.StringVar(&a.context, "context", "", "the cluster to speak to (default: the current one)")
	f.BoolVar(&a.noColor, "no-color", false, "no colours")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no hints")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	root.SetHelpFunc(a.help)
	root.SetUsageFunc(func(c *cobra.Command) error { a.help(c, nil); return nil })
	root.AddGroup(&cobra.Group{ID: groupStart, Title: "Start"}, &cobra.Group{ID: groupApps, Title: "Run"},
		&cobra.Group{ID: groupLook, Title: "Look"}, &cobra.Group{ID: groupAdmin, Title: "Operate"}, &cobra.Group{ID: groupTopics, Title: "Topics (drupe help TOPIC)"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupStart, a.dev(), a.doctor(), a.version())
	add(groupApps, a.vet(), a.apply(), a.scale(), a.stop(), a.rm(), a.wait(),
		a.exec(), a.attach(), a.cp(), a.portForward())
	add(groupLook, a.ps(), a.top(), a.show(), a.logs(), a.events(), a.why())
	add(groupAdmin, a.image(), a.push(), a.sign(), a.key(), a.node(), a.role(), a.plugin(), a.policy(), a.server(), a.agent())
	add(groupTopics, topics()...)
	help := &cobra.Command{Use: "help [COMMAND|TOPIC]", Short: "help on a command or a topic",
		Example: "  drupe help apply\n  drupe help exit-codes",
		RunE: func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(c.Root(), strings.Join(args, " "))
			}
			a.help(found, nil)
			return nil
		}}
	root.SetHelpCommand(help)
	add(groupStart, help)
	return root
}

// group is what a command does that only holds others.
func group(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(c, args[0])
	}
	return c.Help()
}

// noun builds a command that only holds others.
func noun(use, short, example string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example, RunE: group, Args: cobra.ArbitraryArgs}
	c.AddCommand(verbs...)
	return c
}

// aliases of verbs that people bring from elsewhere.
var (
	lsAliases   = []string{"list"}
	showAliases = []string{"get", "inspect", "describe", "status"}
	rmAliases   = []string{"delete", "remove"}
)

// want returns an argument check that says what is missing in words.
func want(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef(c, "%s is missing", what)
		case most >= 0 && len(args) > most:
			return usagef(c, "%q is one argument too many", args[most])
		}
		return nil
	}
}
