package host

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"github.com/tetratelabs/wazero/api"

	"github.com/drupe-os/drupe/sdk/policy"
)

// table is where a plugin wants each column of a batch. Every place in it was
// checked to lie inside the plugin's memory, which never shrinks.
type table struct {
	at     [policy.Columns]uint32
	skip   [policy.Columns]bool // columns the plugin does not want
	header [policy.HeaderWords]uint32
	dirty  []uint32
}

// shapes are each column's bytes per element and what its length is a multiple
// of: rows of one noun, times Dims for vectors.
var shapes = [policy.Columns]struct {
	size   uint32
	noun   int // index into the sizes of drupe_layout; -1: no rows
	vector bool
}{
	policy.ColHeader:          {4, -1, false},
	policy.ColTotal:           {8, -1, true},
	policy.ColRoleParent:      {4, 1, false},
	policy.ColRoleWeight:      {8, 1, false},
	policy.ColRoleHeld:        {8, 1, true},
	policy.ColRoleReserved:    {8, 1, true},
	policy.ColRoleGuarantee:   {8, 1, true},
	policy.ColRoleLimit:       {8, 1, true},
	policy.ColRoleAllocations: {8, 1, false},
	policy.ColClientRole:      {4, 2, false},
	policy.ColClientHeld:      {8, 2, true},
	policy.ColClientAlloc:     {8, 2, false},
	policy.ColDemandClient:    {4, 3, false},
	policy.ColDemandPriority:  {4, 3, false},
	policy.ColDemandCount:     {4, 3, false},
	policy.ColDemandNeed:      {8, 3, true},
	policy.ColDemandElastic:   {1, 3, false},
	policy.ColNodeCapacity:    {8, 4, true},
	policy.ColNodeFree:        {8, 4, true},
	policy.ColNodeUsable:      {1, 4, false},
	policy.ColNodeDirty:       {4, 4, false},
}

// read takes the layout table at an address. Errors say what is wrong with it.
func (t *table) read(mem api.Memory, at uint32, sizes [5]uint32) error {
	raw, ok := mem.Read(at, uint32(policy.Columns)*policy.EntrySize)
	if !ok {
		return fmt.Errorf("its layout table at %#x lies outside its memory", at)
	}
	for c := range shapes {
		e := raw[c*policy.EntrySize:]
		kind, size := binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])
		offset, room := binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		s := shapes[c]
		need := uint64(1)
		if s.noun > 0 {
			need = uint64(sizes[s.noun])
		}
		if s.vector {
			need *= uint64(sizes[0])
		}
		if c == int(policy.ColHeader) {
			need = policy.HeaderWords
		}
		t.at[c], t.skip[c] = offset, room == 0 && c != int(policy.ColHeader)
		switch {
		case kind != uint32(c) || size != s.size:
			return fmt.Errorf("entry %d of its layout table is for column %d with %d bytes each", c, kind, size)
		case t.skip[c]:
		case uint64(room) < need:
			return fmt.Errorf("it has room for %d elements of column %d, not for %d", room, c, need)
		case uint64(offset)+uint64(room)*uint64(size) > uint64(mem.Size()):
			return fmt.Errorf("column %d lies outside its memory", c)
		}
	}
	return nil
}

// write lays a batch out in the plugin's memory. Of the nodes only rows that
// changed are written, unless whole.
func (t *table) write(mem api.Memory, b *policy.Batch, whole bool) {
	whole = whole || b.Nodes.Dirty == nil
	put(t, mem, policy.ColTotal, b.Total)
	put(t, mem, policy.ColRoleParent, b.Roles.Parent)
	put(t, mem, policy.ColRoleWeight, b.Roles.Weight)
	put(t, mem, policy.ColRoleHeld, b.Roles.Held)
	put(t, mem, policy.ColRoleReserved, b.Roles.Reserved)
	put(t, mem, policy.ColRoleGuarantee, b.Roles.Guarantee)
	put(t, mem, policy.ColRoleLimit, b.Roles.Limit)
	put(t, mem, policy.ColRoleAllocations, b.Roles.Allocations)
	put(t, mem, policy.ColClientRole, b.Clients.Role)
	put(t, mem, policy.ColClientHeld, b.Clients.Held)
	put(t, mem, policy.ColClientAlloc, b.Clients.Allocations)
	put(t, mem, policy.ColDemandClient, b.Demands.Client)
	put(t, mem, policy.ColDemandPriority, b.Demands.Priority)
	put(t, mem, policy.ColDemandCount, b.Demands.Count)
	put(t, mem, policy.ColDemandNeed, b.Demands.Need)
	put(t, mem, policy.ColDemandElastic, b.Demands.Elastic)
	if whole {
		put(t, mem, policy.ColNodeCapacity, b.Nodes.Capacity)
		put(t, mem, policy.ColNodeFree, b.Nodes.Free)
		put(t, mem, policy.ColNodeUsable, b.Nodes.Usable)
	} else {
		t.dirty = t.dirty[:0]
		for _, row := range b.Nodes.Dirty {
			if int(row) >= len(b.Nodes.Usable) || len(t.dirty) == len(b.Nodes.Usable) {
				continue
			}
			t.dirty = append(t.dirty, row)
			putRow(t, mem, policy.ColNodeCapacity, b.Nodes.Capacity, row, b.Dims)
			putRow(t, mem, policy.ColNodeFree, b.Nodes.Free, row, b.Dims)
			putRow(t, mem, policy.ColNodeUsable, b.Nodes.Usable, row, 1)
		}
		put(t, mem, policy.ColNodeDirty, t.dirty)
	}
	t.header = [policy.HeaderWords]uint32{
		policy.HeaderDims: uint32(b.Dims), policy.HeaderRoles: uint32(len(b.Roles.Parent)),
		policy.HeaderClients: uint32(len(b.Clients.Role)), policy.HeaderDemands: uint32(len(b.Demands.Client)),
		policy.HeaderNodes: uint32(len(b.Nodes.Usable)),
	}
	if !whole {
		t.header[policy.HeaderDirty], t.header[policy.HeaderFlags] = uint32(len(t.dirty)), policy.FlagDirty
	}
	put(t, mem, policy.ColHeader, t.header[:])
}

// number is what columns hold.
type number interface {
	~int32 | ~uint32 | ~int64 | ~uint64 | ~uint8
}

// put copies a column into place.
func put[T number](t *table, mem api.Memory, c policy.Column, s []T) {
	if len(s) > 0 && !t.skip[c] {
		mem.Write(t.at[c], raw(s))
	}
}

// putRow copies one row, of width elements, into its place in a column.
func putRow[T number](t *table, mem api.Memory, c policy.Column, s []T, row uint32, width int) {
	if !t.skip[c] {
		var one T
		at := int(row) * width
		mem.Write(t.at[c]+uint32(at)*uint32(unsafe.Sizeof(one)), raw(s[at:at+width]))
	}
}

// raw returns the bytes of s as they lie in memory: little-endian, as columns
// must be, on every machine that wazero compiles for.
func raw[T number](s []T) []byte {
	var one T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), uintptr(len(s))*unsafe.Sizeof(one))
}
