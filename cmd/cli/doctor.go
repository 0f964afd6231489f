package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
)

// DoctorOptions are the flags of drupe doctor.
type DoctorOptions struct {
	Data    string   // folder the agent has, or will have
	Servers []string // to join
	Token   string   // file with the token to join
}

// Finding is one thing about the machine that is not as it should be.
type Finding struct {
	ID    string `json:"id"`
	Level string `json:"level"` // "fatal", "warning" or "note"
	What  string `json:"what"`
	Why   string `json:"why"`
	Fix   string `json:"fix"`
}

func (a *app) doctor() *cobra.Command {
	var o DoctorOptions
	c := &cobra.Command{Use: "doctor [--data FOLDER] [--server ADDRESS]", Short: "check this machine before it joins",
		Long: "Looks for what would keep this machine from being a node, or make it a worse one. It\n" +
			"changes nothing. The exit code is 1 when something is fatal.",
		Example: "  drupe doctor\n  drupe doctor --data /var/lib/drupe-agent --server 10.0.0.1:4600 -o json",
		Args:    want(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if RunDoctor == nil {
				return notBuilt("drupe doctor")
			}
			list, err := RunDoctor(c.Context(), o)
			if err != nil {
				return err
			}
			if list == nil {
				list = []Finding{}
			}
			if err := a.result(list, func() { a.findings(list) }); err != nil {
				return err
			}
			for _, f := range list {
				if f.Level == "fatal" {
					return &exitError{error: sdk.Errorf(sdk.Unsupported, "machine", "cannot be a node"), code: ExitFailed, shown: true}
				}
			}
			return nil
		}}
	f := c.Flags()
	f.StringVar(&o.Data, "data", "/var/lib/drupe-agent", "`folder` that the agent has or will have")
	f.StringArrayVar(&o.Servers, "server", nil, "`address` of a server's API; may be repeated")
	f.StringVar(&o.Token, "join-token", "", "`file` with the token to join")
	return c
}

func (a *app) findings(list []Finding) {
	if len(list) == 0 {
		fmt.Fprintln(a.out, "nothing is wrong with this machine")
	}
	colors := map[string]string{"fatal": red, "warning": yellow}
	for _, f := range list {
		fmt.Fprintf(a.out, "%s  %s: %s\n  why  %s\n  fix  %s\n", a.paint(colors[f.Level], a.out, f.Level), f.ID, f.What, f.Why, f.Fix)
	}
}
