package sdk

// Why explains why a document's demands are not all placed. It is made by the
// code that refuses, for every node.
type Why struct {
	Ref     Ref         `json:"ref"`
	Demands []WhyDemand `json:"demands"`
	// Message sums it up in one line.
	Message string `json:"message"`
}

// WhyDemand explains one demand.
type WhyDemand struct {
	Demand  string     `json:"demand"`
	Role    RolePath   `json:"role"`
	Waiting int64      `json:"waiting"` // instances not placed
	Needs   Resources  `json:"needs"`
	Reason  Reason     `json:"reason,omitempty"` // when no node is to blame: quota, back-off, policy
	Message string     `json:"message"`
	Counts  []WhyCount `json:"counts"` // nodes per reason, most first; a node counts once for each of its reasons
	Nodes   []WhyNode  `json:"nodes"`  // nearest first, at most 20
	Fixes   []WhyFix   `json:"fixes"`  // each proven on a copy of the state
}

// WhyCount is how many nodes have a reason.
type WhyCount struct {
	Reason Reason `json:"reason"`
	Nodes  int    `json:"nodes"`
}

// WhyNode is all that speaks against one node.
type WhyNode struct {
	Node    NodeID     `json:"node"`
	Name    string     `json:"name"`
	Lacks   []WhyLack  `json:"lacks"`
	Holders []WhyHolds `json:"holders,omitempty"` // who holds what is lacking, most first
}

// WhyLack is one thing that speaks against a node. Short is how much is
// missing, in the unit of Resource; 0 where that makes no sense.
type WhyLack struct {
	Reason   Reason `json:"reason"`
	Resource string `json:"resource,omitempty"`
	Need     int64  `json:"need,omitempty"`
	Free     int64  `json:"free,omitempty"`
	Short    int64  `json:"short,omitempty"`
	Detail   string `json:"detail,omitempty"` // the constraint or role in words
}

// WhyHolds is how much a document holds of what a node lacks.
type WhyHolds struct {
	Ref      Ref    `json:"ref"`
	Resource string `json:"resource"`
	Amount   int64  `json:"amount"`
}

// WhyFix is a change that would let at least one more instance run.
type WhyFix struct {
	Message string `json:"message"`
	Field   string `json:"field,omitempty"` // of the document, such as "resources.mem"
	Value   string `json:"value,omitempty"`
}
