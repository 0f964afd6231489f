package policy

// Column numbers the columns of a batch as they lie in a plugin's memory. The
// numbers are part of the ABI: they never change, new ones are added at the end.
type Column uint32

// The columns, in the order in which they stand in the layout table.
const (
	ColHeader          Column = iota // u32 × HeaderWords
	ColTotal                         // i64 × Dims
	ColRoleParent                    // i32
	ColRoleWeight                    // i64
	ColRoleHeld                      // i64 × Dims
	ColRoleReserved                  // i64 × Dims
	ColRoleGuarantee                 // i64 × Dims
	ColRoleLimit                     // i64 × Dims
	ColRoleAllocations               // u64
	ColClientRole                    // i32
	ColClientHeld                    // i64 × Dims
	ColClientAlloc                   // u64
	ColDemandClient                  // u32
	ColDemandPriority                // i32
	ColDemandCount                   // u32
	ColDemandNeed                    // i64 × Dims
	ColDemandElastic                 // u8
	ColNodeCapacity                  // i64 × Dims
	ColNodeFree                      // i64 × Dims
	ColNodeUsable                    // u8
	ColNodeDirty                     // u32
	Columns                          // how many there are
)

// EntrySize is the number of bytes of one entry of the layout table: u32 column,
// u32 bytes per element, u32 offset in memory, u32 capacity in elements.
const EntrySize = 16

// Words of the header column.
const (
	HeaderDims = iota
	HeaderRoles
	HeaderClients
	HeaderDemands
	HeaderNodes
	HeaderDirty // rows in ColNodeDirty
	HeaderFlags // of the flags below
	headerSpare
	HeaderWords
)

// FlagDirty says that only the rows in ColNodeDirty changed; without it all of
// the node columns may have.
const FlagDirty = 1

// Names of what a policy module exports, beside "memory".
const (
	ExportMarker   = "drupe_abi_policy_1" // ( ), never called
	ExportLayout   = "drupe_layout"       // (dims, roles, clients, demands, nodes u32) → table address
	ExportAllocate = "drupe_allocate"     // ( ) → 0, or a number of its own that says it failed
)
