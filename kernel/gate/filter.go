package gate

import (
	"cmp"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// DocumentFilter narrows a list of documents. Zero fields let everything pass.
type DocumentFilter struct {
	Kind string
	Name string
	// Role lets its whole subtree pass.
	Role sdk.RolePath
}

// Match reports whether d passes.
func (f DocumentFilter) Match(d *sdk.Document) bool {
	return (f.Kind == "" || d.Ref.Kind == f.Kind) && (f.Name == "" || d.Ref.Name == f.Name) && d.Role.Within(f.Role)
}

// TaskFilter narrows a list of tasks. Zero fields let everything pass.
type TaskFilter struct {
	Kind string // of the document
	Name string // of the document
	// Role lets its whole subtree pass.
	Role sdk.RolePath
	Node sdk.NodeID
	// State is the name of one state, or "live" or "ended" for all of those.
	State string
}

// Match reports whether t passes.
func (f TaskFilter) Match(t *sdk.Task) bool {
	return (f.Kind == "" || t.Ref.Kind == f.Kind) &&
		(f.Name == "" || t.Ref.Name == f.Name) &&
		(f.Node == "" || t.Node == f.Node) &&
		t.Role.Within(f.Role) && f.matchState(t.Status.State)
}

func (f TaskFilter) matchState(s sdk.TaskState) bool {
	switch f.State {
	case "":
		return true
	case "live":
		return !s.Terminal()
	case "ended":
		return s.Terminal()
	}
	return s.String() == f.State
}

// eventFilter narrows a stream of events.
type eventFilter struct {
	ref  sdk.Ref
	kind string // "task.updated", or "task" for all of a noun
}

func (f eventFilter) match(e *sdk.Event) bool {
	if f.kind != "" && string(e.Kind) != f.kind && !strings.HasPrefix(string(e.Kind), f.kind+".") {
		return false
	}
	if f.ref.IsZero() {
		return true
	}
	about := e.About()
	return about.Name == f.ref.Name && (f.ref.Kind == "" || about.Kind == f.ref.Kind)
}

// The orders of lists. They are total, so the same state always gives the same
// answer.

func sortDocuments(l []sdk.Document) {
	slices.SortFunc(l, func(a, b sdk.Document) int { return compareRefs(a.Ref, b.Ref) })
}

func sortTasks(l []sdk.TaskView) {
	slices.SortFunc(l, func(a, b sdk.TaskView) int {
		return cmp.Or(compareRefs(a.Ref, b.Ref), cmp.Compare(a.Created, b.Created), cmp.Compare(a.ID, b.ID))
	})
}

func sortNodes(l []sdk.NodeView) {
	slices.SortFunc(l, func(a, b sdk.NodeView) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}

func sortRoles(l []sdk.RoleView) {
	slices.SortFunc(l, func(a, b sdk.RoleView) int { return cmp.Compare(a.Path, b.Path) })
}

func sortPlugins(l []sdk.PluginView) {
	slices.SortFunc(l, func(a, b sdk.PluginView) int { return cmp.Compare(a.Manifest.Name, b.Manifest.Name) })
}

func sortOffers(l []sdk.Offer) {
	slices.SortFunc(l, func(a, b sdk.Offer) int { return cmp.Compare(a.ID, b.ID) })
}

func compareRefs(a, b sdk.Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
}
