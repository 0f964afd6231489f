package sdk

// Demand is what a framework wants: so many tasks of one shape, where they may
// run. The kernel offers only what fits, to those who asked.
type Demand struct {
	// Name is the framework's own, unique among its demands.
	Name string `json:"name" msg:"n"`
	// Ref is the document the demand serves.
	Ref Ref `json:"ref" msg:"f"`
	// Role is charged for what the demand gets.
	Role RolePath `json:"role" msg:"r"`
	// Count is how many launches (or offers) are still wanted. The kernel
	// lowers it with every launch.
	Count int64 `json:"count" msg:"c"`
	// Resources of one instance; for real offers the least worth offering.
	Resources Resources `json:"resources" msg:"q"`
	// Constraints narrow where instances may run.
	Constraints []Constraint `json:"constraints,omitempty" msg:"s,omitempty"`
	// Template is the standing acceptance: with it an allocation becomes a
	// launch at once. Without it the framework gets real offers.
	Template *Template `json:"template,omitempty" msg:"t,omitempty"`
	// Tag is the framework's own mark, carried by each task launched.
	Tag string `json:"tag,omitempty" msg:"g,omitempty"`
	// NotBefore holds the demand back until then (back-off after failures).
	NotBefore Time `json:"not_before,omitempty" msg:"b,omitempty"`
	// Priority: higher goes first within a role. 0 is normal.
	Priority int32 `json:"priority,omitempty" msg:"p,omitempty"`
}

// Operator is how a constraint compares a node's attribute.
type Operator string

// The operators, with the meaning Marathon gave them. "Placed" are the live
// tasks of the same document.
const (
	OpIs      Operator = "is"       // equals Value
	OpLike    Operator = "like"     // matches the regular expression Value
	OpUnlike  Operator = "unlike"   // does not match it, or the attribute is absent
	OpUnique  Operator = "unique"   // no placed task has the node's value
	OpCluster Operator = "cluster"  // equals Value, or without Value that of those placed
	OpGroupBy Operator = "group_by" // spread evenly over Value groups (0 or absent: as many as are known)
	OpMaxPer  Operator = "max_per"  // fewer than Value placed with the node's value
)

// Constraint is one condition on a node. All of a demand's must hold. The
// attributes "node" and "hostname" always exist.
type Constraint struct {
	Attribute string   `json:"attribute" msg:"a"`
	Operator  Operator `json:"operator" msg:"o"`
	Value     string   `json:"value,omitempty" msg:"v,omitempty"`
}
