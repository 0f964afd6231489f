//go:build wasip1

package policy

import (
	"unsafe"

	"github.com/drupe-os/drupe/sdk"
)

var (
	registered func() Policy
	running    Policy
	columns    arenas
)

// Register names the policy that this module is. It is called once, from an
// init function of the plugin's main package.
func Register(make func() Policy) { registered = make }

// arenas are the columns as the host fills them. They are reserved by layout and
// never moved in between, so a batch costs no allocation.
type arenas struct {
	table  [int(Columns) * EntrySize / 4]uint32
	header [HeaderWords]uint32
	batch  Batch // each column with its whole capacity
	view   Batch // of the batch in hand
}

// reserve makes room for n elements of a column and enters it in the table.
func reserve[T any](a *arenas, c Column, n uint32) []T {
	s := make([]T, n, max(n, 1))
	a.enter(c, uint32(unsafe.Sizeof(*new(T))), unsafe.Pointer(unsafe.SliceData(s)), n)
	return s
}

func (a *arenas) enter(c Column, size uint32, p unsafe.Pointer, n uint32) {
	e := a.table[int(c)*EntrySize/4:]
	e[0], e[1], e[2], e[3] = uint32(c), size, uint32(uintptr(p)), n
}

//go:wasmexport drupe_abi_policy_1
func marker() {}

//go:wasmexport drupe_layout
func layout(dims, roles, clients, demands, nodes uint32) uint32 {
	a := &columns
	a.enter(ColHeader, 4, unsafe.Pointer(&a.header), HeaderWords)
	b := &a.batch
	b.Total = reserve[int64](a, ColTotal, dims)
	b.Roles = Roles{
		Parent:      reserve[int32](a, ColRoleParent, roles),
		Weight:      reserve[int64](a, ColRoleWeight, roles),
		Held:        reserve[int64](a, ColRoleHeld, roles*dims),
		Reserved:    reserve[int64](a, ColRoleReserved, roles*dims),
		Guarantee:   reserve[int64](a, ColRoleGuarantee, roles*dims),
		Limit:       reserve[int64](a, ColRoleLimit, roles*dims),
		Allocations: reserve[uint64](a, ColRoleAllocations, roles),
	}
	b.Clients = Clients{
		Role:        reserve[int32](a, ColClientRole, clients),
		Held:        reserve[int64](a, ColClientHeld, clients*dims),
		Allocations: reserve[uint64](a, ColClientAlloc, clients),
	}
	b.Demands = Demands{
		Client:   reserve[uint32](a, ColDemandClient, demands),
		Priority: reserve[int32](a, ColDemandPriority, demands),
		Count:    reserve[uint32](a, ColDemandCount, demands),
		Need:     reserve[int64](a, ColDemandNeed, demands*dims),
		Elastic:  reserve[uint8](a, ColDemandElastic, demands),
	}
	b.Nodes = Nodes{
		Capacity: reserve[int64](a, ColNodeCapacity, nodes*dims),
		Free:     reserve[int64](a, ColNodeFree, nodes*dims),
		Usable:   reserve[uint8](a, ColNodeUsable, nodes),
		Dirty:    reserve[uint32](a, ColNodeDirty, nodes),
	}
	return uint32(uintptr(unsafe.Pointer(&a.table)))
}

//go:wasmexport drupe_allocate
func allocate() int32 {
	if running == nil {
		if registered == nil {
			return 1
		}
		running = registered()
	}
	running.Allocate(columns.cut(), host{})
	return 0
}

// cut returns the columns at the lengths the header gives.
func (a *arenas) cut() *Batch {
	h, b, v := &a.header, &a.batch, &a.view
	dims, roles, clients, demands, nodes := h[HeaderDims], h[HeaderRoles], h[HeaderClients], h[HeaderDemands], h[HeaderNodes]
	v.Dims = int(dims)
	v.Total = b.Total[:dims]
	v.Roles = Roles{b.Roles.Parent[:roles], b.Roles.Weight[:roles], b.Roles.Held[:roles*dims],
		b.Roles.Reserved[:roles*dims], b.Roles.Guarantee[:roles*dims], b.Roles.Limit[:roles*dims],
		b.Roles.Allocations[:roles]}
	v.Clients = Clients{b.Clients.Role[:clients], b.Clients.Held[:clients*dims], b.Clients.Allocations[:clients]}
	v.Demands = Demands{b.Demands.Client[:demands], b.Demands.Priority[:demands], b.Demands.Count[:demands],
		b.Demands.Need[:demands*dims], b.Demands.Elastic[:demands]}
	v.Nodes = Nodes{Capacity: b.Nodes.Capacity[:nodes*dims], Free: b.Nodes.Free[:nodes*dims], Usable: b.Nodes.Usable[:nodes]}
	if h[HeaderFlags]&FlagDirty != 0 {
		v.Nodes.Dirty = b.Nodes.Dirty[:h[HeaderDirty]]
	}
	return v
}

//go:wasmimport drupe place
func hostPlace(demand, n, strategy uint32) uint64

//go:wasmimport drupe place_on
func hostPlaceOn(demand, node, n uint32) uint64

//go:wasmimport drupe candidates
func hostCandidates(demand, strategy uint32, out unsafe.Pointer, room uint32) uint32

//go:wasmimport drupe allocatable
func hostAllocatable(demand, node uint32, out, reserved unsafe.Pointer) uint32

//go:wasmimport drupe offer
func hostOffer(demand, node uint32, amount unsafe.Pointer) uint32

//go:wasmimport drupe explain
func hostExplain(demand, why uint32)

// host is the kernel's index, called through the sandbox's wall.
type host struct{}

func (host) Place(demand, n uint32, s Strategy) (uint32, sdk.Reason) {
	r := hostPlace(demand, n, uint32(s))
	return uint32(r >> 32), sdk.Reason(r)
}

func (host) PlaceOn(demand, node, n uint32) (uint32, sdk.Reason) {
	r := hostPlaceOn(demand, node, n)
	return uint32(r >> 32), sdk.Reason(r)
}

func (host) Candidates(demand uint32, s Strategy, out []uint32) int {
	return int(hostCandidates(demand, uint32(s), unsafe.Pointer(unsafe.SliceData(out)), uint32(len(out))))
}

func (host) Allocatable(demand, node uint32, out, reserved []int64) sdk.Reason {
	return sdk.Reason(hostAllocatable(demand, node, unsafe.Pointer(&out[0]), unsafe.Pointer(&reserved[0])))
}

func (host) Offer(demand, node uint32, amount []int64) sdk.Reason {
	return sdk.Reason(hostOffer(demand, node, unsafe.Pointer(&amount[0])))
}

func (host) Explain(demand uint32, why sdk.Reason) { hostExplain(demand, uint32(why)) }
