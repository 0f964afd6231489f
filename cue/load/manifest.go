package load

import (
	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/sdk"
)

// Manifest reads the manifest of the one plugin that a file declares. Its name
// is the key it stands under.
func Manifest(path string) (sdk.Manifest, []diagnose.Diagnostic) {
	set, diags := Files([]string{path})
	if len(diags) > 0 {
		return sdk.Manifest{}, diags
	}
	var found []Loaded
	for _, d := range set.Documents {
		if d.Ref.Kind == "plugin" {
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		message := "declares no plugin"
		if len(found) > 1 {
			message = "declares more than one plugin"
		}
		return sdk.Manifest{}, []diagnose.Diagnostic{{Code: diagnose.Unreadable, File: path, Message: message, Help: "write plugins: NAME: {…} once"}}
	}
	v, err := decode("plugin", found[0].Body)
	if err != nil {
		return sdk.Manifest{}, []diagnose.Diagnostic{{Code: diagnose.Inconsistent, File: path, Message: words(err)}}
	}
	m := *v.(*sdk.Manifest)
	m.Name = sdk.PluginName(found[0].Ref.Name)
	return m, nil
}
