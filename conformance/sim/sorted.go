package sim

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

func sortedIDs(m map[sdk.TaskID]*sdk.Task) []sdk.TaskID { return slices.Sorted(maps.Keys(m)) }

func sortedOffers(m map[sdk.OfferID]*sdk.Offer) []sdk.OfferID { return slices.Sorted(maps.Keys(m)) }

func sortedRefs[V any](m map[sdk.Ref]V) []sdk.Ref {
	return slices.SortedFunc(maps.Keys(m), func(a, b sdk.Ref) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
}
