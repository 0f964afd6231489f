package core

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Maps are for looking up. Whoever goes through a table in a way that shows
// takes it in a fixed order from here.

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

func (s *State) sortedRoles() []*sdk.Role {
	out := make([]*sdk.Role, 0, len(s.roles))
	for _, path := range sortedKeys(s.roles) {
		out = append(out, s.roles[path])
	}
	return out
}

func (s *State) sortedDocuments() []*sdk.Document {
	out := slices.Collect(maps.Values(s.documents))
	slices.SortFunc(out, func(a, b *sdk.Document) int {
		return cmp.Or(strings.Compare(a.Ref.Kind, b.Ref.Kind), strings.Compare(a.Ref.Name, b.Ref.Name))
	})
	return out
}

func (s *State) sortedTasks() []*task {
	out := slices.Collect(maps.Values(s.tasks))
	slices.SortFunc(out, func(a, b *task) int { return cmp.Compare(a.serial, b.serial) })
	return out
}
