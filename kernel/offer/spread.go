package offer

import "github.com/drupe-os/drupe/sdk"

// spread counts a document's live tasks by the value of one attribute of their
// nodes, so that unique, group_by and their like cost a look-up and no scan.
type spread struct {
	attribute string
	counts    map[string]int
	total     int
}

func (s *spread) add(value string, n int) {
	s.counts[value] += n
	s.total += n
	if s.counts[value] == 0 {
		delete(s.counts, value)
	}
}

// admits says whether one more task may go where the attribute has value.
// Instances is how many the document will have in all, groups how many values
// the attribute has among all nodes. The rules are Marathon's.
func (s *spread) admits(m *matcher, value string, instances, groups int) bool {
	c := s.counts[value]
	switch m.Operator {
	case sdk.OpUnique:
		return c == 0
	case sdk.OpMaxPer:
		return c < m.n
	case sdk.OpCluster:
		return s.total == 0 || c > 0
	case sdk.OpGroupBy:
		n := m.n
		if n == 0 {
			n = max(groups, 1)
		}
		if c == 0 {
			return len(s.counts) < n
		}
		base, rest := instances/n, instances%n
		if c < base {
			return true
		}
		if c > base {
			return false
		}
		above := 0
		for _, other := range s.counts {
			if other > base {
				above++
			}
		}
		return above < rest
	}
	return true
}
