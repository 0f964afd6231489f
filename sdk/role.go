package sdk

// Role is one node of the role tree: who shares the cluster, how much they are
// owed and how much they may have. A role exists once it is declared or used.
type Role struct {
	Path RolePath `json:"path" msg:"p"`
	// Weight scales the role's fair share against its siblings, in thousandths:
	// 2000 is owed twice as much as 1000. 0 means 1000.
	Weight int64 `json:"weight" msg:"w"`
	// Guarantee is laid away for the role's subtree even while it is idle.
	// A child's guarantee lies within its parent's.
	Guarantee Resources `json:"guarantee,omitempty" msg:"g,omitempty"`
	// Limit is what the role's subtree may hold at most. Names that are absent
	// are not bounded here, but may be higher up.
	Limit Resources `json:"limit,omitempty" msg:"l,omitempty"`
	// Declared tells a role with a document from one that is merely in use.
	Declared bool `json:"declared" msg:"d"`
}
