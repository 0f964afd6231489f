package policy

import (
	"github.com/drupe-os/drupe/sdk"
	api "github.com/drupe-os/drupe/sdk/policy"
)

// Dims are the resources of a case, in the order of a batch's columns.
var Dims = []string{sdk.CPUs, sdk.Mem, sdk.Disk, sdk.GPUs, "ports"}

// Amount is so much of each of Dims: thousandths, bytes, and for ports a count.
type Amount [5]int64

// Bounds is an Amount in which -1 means no bound.
type Bounds = Amount

// Demand is what a client wants.
type Demand struct {
	Name     string // unique in the case
	Client   string
	Role     sdk.RolePath
	Count    uint32
	Need     Amount
	Elastic  bool
	Priority int32
}

// Taken is one thing a round took: an offer made, or instances placed.
type Taken struct {
	Demand string
	Node   string
	Amount Amount // of the offer, or of one instance
	Count  uint32 // 1 for offers
	Offer  bool
}

// Cluster is what cases are played on. Implementations need not be safe for
// concurrent use. A role exists once it is named by anything.
type Cluster interface {
	// SetRole declares weight (thousandths), guarantee and limit of a role.
	SetRole(path sdk.RolePath, weight int64, guarantee Amount, limit Bounds)
	// SetNode adds a node, or changes its capacity and reservations; what is
	// taken on it stays taken.
	SetNode(name string, capacity Amount, reserved map[sdk.RolePath]Amount, usable bool)
	// RemoveNode takes a node away with all that is taken on it.
	RemoveNode(name string)
	// SetDemand opens a demand or changes it; Count 0 keeps it without wanting
	// more.
	SetDemand(d Demand)
	// DropDemand withdraws a demand; what its client holds stays.
	DropDemand(name string)
	// Take gives amount on a node to a client, as a past allocation: what is
	// reserved for its role first, beyond capacity if need be.
	Take(client string, role sdk.RolePath, node string, amount Amount)
	// Free gives amount back.
	Free(client string, role sdk.RolePath, node string, amount Amount)
	// Decline frees what an offer held and remembers amount as declined.
	Decline(demand, node string, amount Amount, until sdk.Time)
	// Revive forgets what a demand declined.
	Revive(demand string)
	// Begin starts a round with all open demands. Exactly one of the round's
	// End and Abandon must follow before anything else is called.
	Begin(now sdk.Time) Round
}

// Round is one batch on a cluster.
type Round interface {
	Batch() *api.Batch
	Index() api.Index
	// Demands names the batch's demands by row.
	Demands() []string
	// End makes what was taken permanent and returns it in order.
	End() []Taken
	// Abandon undoes what was taken.
	Abandon()
}

// Allocator is a policy as the kernel calls it, native or sandboxed. An error
// means that the call was refused and nothing it took may count.
type Allocator interface {
	Allocate(b *api.Batch, ix api.Index) error
}

// Native runs a policy's native code.
func Native(p api.Policy) Allocator { return native{p} }

type native struct{ p api.Policy }

func (n native) Allocate(b *api.Batch, ix api.Index) error {
	n.p.Allocate(b, ix)
	return nil
}
