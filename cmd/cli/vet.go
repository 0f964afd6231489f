package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/load"
	"github.com/drupe-os/drupe/sdk"
)

func (a *app) vet() *cobra.Command {
	return &cobra.Command{Use: "vet PATH...", Short: "check what files declare",
		Long: "Checks files without a cluster. Every mistake is shown with its place and remedy.\n" +
			"A PATH is a file, a folder, a folder with all below (FOLDER/...), or - for standard\n" +
			"input. With -o json mistakes are a list on standard output.",
		Example: "  drupe vet hello.cue\n  drupe vet ./...\n  drupe vet -o json hello.cue",
		Args:    want(1, -1, "PATH"),
		RunE: func(c *cobra.Command, args []string) error {
			set, err := a.load(args)
			if err != nil {
				return err
			}
			if a.json() {
				return a.writeJSON([]diagnose.Diagnostic{})
			}
			for _, d := range set.Documents {
				fmt.Fprintf(a.out, "%s  ok\n", d.Ref)
			}
			return nil
		}}
}

// load reads documents from paths. Mistakes are shown at once, all of them.
func (a *app) load(paths []string) (*load.Set, error) {
	set, diags := load.Files(paths)
	if len(diags) == 0 {
		return set, nil
	}
	invalid := &exitError{error: diagnose.Fault(diags), code: ExitInvalid, shown: true}
	if a.json() {
		e := json.NewEncoder(a.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(diags); err != nil {
			return nil, err
		}
		return nil, invalid
	}
	if err := diagnose.Render(a.err, diags, a.paint(red, a.err, "x") != "x"); err != nil {
		return nil, err
	}
	return nil, invalid
}

// request is what declares the documents of a set.
func request(set *load.Set) sdk.ApplyRequest {
	r := sdk.ApplyRequest{Documents: make([]sdk.DocumentInput, len(set.Documents))}
	for i, d := range set.Documents {
		r.Documents[i] = sdk.DocumentInput{Kind: d.Ref.Kind, Name: d.Ref.Name, Role: d.Role, Body: d.Body, Source: d.Source}
	}
	return r
}
