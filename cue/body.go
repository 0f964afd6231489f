package cue

import (
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
)

// Kinds returns the kinds of document the schema knows, in its order. Each
// stands in a field named after it in the plural.
func Kinds() []string {
	return []string{doc.KindService, doc.KindJob, sdk.KindRole, sdk.KindNode, KindPlugin}
}

// KindPlugin is the kind of a plugin's manifest. It is not a document that is
// applied: it travels inside the plugin's module.
const KindPlugin = "plugin"

// Body returns a pointer to the empty Go type that the schema of a kind
// describes, or nil for a kind it does not know.
func Body(kind string) any {
	if kind == KindPlugin {
		return new(sdk.Manifest)
	}
	return doc.Body(kind)
}
