// Package doctor checks a machine before it becomes a node: what would keep
// tasks from running there, or make them less isolated, slower or fewer than
// they could be. Gather looks at the machine, Check judges what was found and
// is a pure function, so that every fault can be planted in a test.
package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	Fatal   Level = "fatal"   // no task can run here, or the node cannot join
	Warning Level = "warning" // it works, but less well than it could
	Note    Level = "note"    // worth knowing
)

// Finding is one thing that is not as it should be.
type Finding struct {
	ID    string `json:"id"` // stays the same, for scripts
	Level Level  `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why"` // what comes of it
	Fix   string `json:"fix"`
}

// findings collects what checks find.
type findings []Finding

func (l *findings) add(level Level, id, what, why, fix string) {
	*l = append(*l, Finding{ID: id, Level: level, What: what, Why: why, Fix: fix})
}

// Check judges a machine: fatal findings first, otherwise in the order of the
// checks.
func Check(f *Facts) []Finding {
	var l findings
	for _, check := range []func(*Facts, *findings){privileges, kernel, groups, data, memory, clock, network, names, identityFiles, limits, devices, remains} {
		check(f, &l)
	}
	rank := map[Level]int{Fatal: 0, Warning: 1, Note: 2}
	slices.SortStableFunc(l, func(a, b Finding) int { return cmp.Compare(rank[a.Level], rank[b.Level]) })
	return l
}

// Bad reports whether one of the findings is fatal.
func Bad(l []Finding) bool {
	return slices.ContainsFunc(l, func(f Finding) bool { return f.Level == Fatal })
}

func size(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
