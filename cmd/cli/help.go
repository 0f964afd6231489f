package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help writes a command's help: usage, what it does, examples, then flags.
func (a *app) help(c *cobra.Command, _ []string) {
	w := a.out
	if len(c.Commands()) == 0 && !c.Runnable() { // a topic
		io.WriteString(w, c.Long)
		return
	}
	use := c.UseLine()
	if c.HasSubCommands() {
		use = c.CommandPath() + " COMMAND"
	}
	fmt.Fprintf(w, "Usage: %s\n\n", strings.TrimSuffix(use, " [flags]"))
	text := c.Long
	if text == "" {
		text = strings.ToUpper(c.Short[:1]) + c.Short[1:] + "."
	}
	fmt.Fprintf(w, "%s\n", strings.TrimSpace(text))
	if c.Example != "" {
		fmt.Fprintf(w, "\nExamples:\n%s\n", strings.TrimRight(c.Example, "\n"))
	}
	helpCommands(w, c)
	helpFlags(w, "Flags", c.LocalNonPersistentFlags())
	if c.HasParent() {
		fmt.Fprintf(w, "\nFlags of every command: drupe --help\n")
	} else {
		helpFlags(w, "Flags of every command", c.PersistentFlags())
		fmt.Fprintf(w, "\nEvery command: drupe COMMAND --help\n")
	}
}

func helpCommands(w io.Writer, c *cobra.Command) {
	width := 0
	for _, sub := range c.Commands() {
		width = max(width, len(sub.Name()))
	}
	write := func(title, group string) {
		first := true
		for _, sub := range c.Commands() {
			if sub.Hidden || sub.GroupID != group {
				continue
			}
			if first {
				fmt.Fprintf(w, "\n%s:\n", title)
				first = false
			}
			fmt.Fprintf(w, "  %-*s  %s\n", width, sub.Name(), sub.Short)
		}
	}
	for _, g := range c.Groups() {
		write(g.Title, g.ID)
	}
	write("Commands", "")
}

func helpFlags(w io.Writer, title string, flags *pflag.FlagSet) {
	first := true
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		if first {
			fmt.Fprintf(w, "\n%s:\n", title)
			first = false
		}
		name := "    --" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", --" + f.Name
		}
		kind, text := pflag.UnquoteUsage(f)
		if kind != "" {
			name += " " + strings.ToUpper(kind)
		}
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" && f.DefValue != "[]" {
			text += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-24s  %s\n", name, text)
	})
}

// topics are help texts that belong to no command.
func topics() []*cobra.Command {
	var codes strings.Builder
	codes.WriteString("Exit codes. They never change meaning.\n\n")
	for _, c := range exitCodes {
		fmt.Fprintf(&codes, "%5d  %s\n", c.code, c.text)
	}
	codes.WriteString("\nexec and attach end with the exit code of the program that ran. Where they fail\n" +
		"themselves, they say so in a line that begins with \"error:\".\n")
	return []*cobra.Command{
		{Use: "exit-codes", Short: "what the exit code says", Long: codes.String()},
		{Use: "output", Short: "tables, JSON, colours", Long: `Output.

Standard output carries the result only; progress, hints and errors go to
standard error.

  -o table   for people; fits the terminal, or is never cut when piped
  -o wide    the same with more columns, where there are any
  -o json    exactly the API's objects; streams are one object a line

Colours are used on a terminal only, and not with --no-color, NO_COLOR or
TERM=dumb. They never carry meaning alone. COLUMNS overrides the width.
`},
		{Use: "env", Short: "variables and files", Long: `Variables. A flag wins over a variable, a variable over the context.

  DRUPE_CONFIG      folder of contexts (default: drupe in XDG_CONFIG_HOME,
                    else in ~/.config)
  DRUPE_CONTEXT     the context to use
  DRUPE_ADDR        address of a server, such as https://127.0.0.1:4600
  DRUPE_CA_FILE     the cluster's CA certificate, PEM
  DRUPE_TOKEN_FILE  file with your token, mode 0600
  DRUPE_CACHE       folder of compiled plugins (default: of a server in its data,
                    of drupe dev in the user's cache folder)
  DRUPE_LOG         what servers and agents log: debug, info, warn (default), error
  NO_COLOR          no colours
  COLUMNS           width of tables

Files in the folder: contexts.json with addresses and CAs, NAME.token with your
tokens. Drupe refuses a token file that others may read.
`},
		{Use: "names", Short: "how things are named", Long: `Names.

A name alone is looked for in all kinds: "drupe show hello". If there are
several, all are listed; KIND/NAME always works: "service/hello", "node/n1",
"role/eng/web", "plugin/drf", "policy". A name with a dot is a task: "hello.4f".
`},
	}
}
