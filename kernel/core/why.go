package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Why explains what a document waits for. Errors: NotFound.
func (s *State) Why(ref sdk.Ref) (*sdk.Why, error) {
	doc := s.documents[ref]
	if doc == nil {
		return nil, notDeclared(ref)
	}
	w := &sdk.Why{Ref: ref}
	for _, d := range s.openDemands(ref) {
		x := s.book.Explain(d.shape, d.Count, s.waitingFor(d))
		if d.NotBefore > s.now {
			x.Message = "held back until " + d.NotBefore.String() + " after failures: " + doc.Status.Message
			x.Reason = sdk.ReasonBackoff
		}
		for i := range x.Nodes {
			x.Nodes[i].Holders = s.holders(&x.Nodes[i])
		}
		w.Demands = append(w.Demands, x)
	}
	switch {
	case len(w.Demands) > 0:
		w.Message = w.Demands[0].Message
	case doc.Stopped:
		w.Message = "it is stopped"
	case doc.Status.Message != "":
		w.Message = "nothing waits for a place: " + doc.Status.Message
	default:
		w.Message = "nothing waits for a place"
	}
	return w, nil
}

// holders are the documents that hold what a node lacks, most first, at most
// three for each resource.
func (s *State) holders(w *sdk.WhyNode) []sdk.WhyHolds {
	var out []sdk.WhyHolds
	n := s.nodeByID[w.Node]
	for _, lack := range w.Lacks {
		if lack.Short == 0 || lack.Resource == "" {
			continue
		}
		dim := s.ledger.Dim(lack.Resource)
		sums := map[sdk.Ref]int64{}
		for _, t := range n.tasks {
			if a := t.placed.Grant.Amount; !t.state.Terminal() && dim < len(a) && a[dim] > 0 {
				sums[t.group.ref] += a[dim]
			}
		}
		var part []sdk.WhyHolds
		for ref, amount := range sums {
			part = append(part, sdk.WhyHolds{Ref: ref, Resource: lack.Resource, Amount: amount})
		}
		slices.SortFunc(part, func(a, b sdk.WhyHolds) int {
			return cmp.Or(cmp.Compare(b.Amount, a.Amount), strings.Compare(a.Ref.String(), b.Ref.String()))
		})
		out = append(out, part[:min(len(part), 3)]...)
	}
	return out
}
