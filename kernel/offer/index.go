package offer

import (
	"math/bits"

	"github.com/drupe-os/drupe/kernel/account"
)

// index finds nodes by their free cpus and mem without looking at all of them:
// every node lies in one of 64 × 64 cells, whose borders grow geometrically, and
// bitmaps tell which cells have nodes. A search walks from the fullest cell that
// may fit, or from the emptiest, and looks only at nodes in cells it meets.
type index struct {
	rows  [64]uint64 // by cpu level: which mem levels have nodes
	any   uint64     // which cpu levels have nodes
	heads [64][64]int32
	tails [64][64]int32
	nodes []entry
}

// entry is a node's place in its cell's list; links are rows, -1 for none.
type entry struct {
	prev, next int32
	cpu, mem   uint8
	in         bool
}

func newIndex() *index {
	x := &index{}
	for i := range x.heads {
		for j := range x.heads[i] {
			x.heads[i][j], x.tails[i][j] = -1, -1
		}
	}
	return x
}

// level maps an amount to 0..63, four levels to each doubling of the unit.
func level(v int64, unitBits uint) uint8 {
	if v <= 0 {
		return 0
	}
	u := uint64(v) >> unitBits
	if u < 4 {
		return uint8(u)
	}
	k := bits.Len64(u) - 3 // keep the two bits below the leading one
	return uint8(min(63, 4+4*k+int(u>>k)&3))
}

func cpuLevel(milli int64) uint8 { return level(milli, 5) }  // units of 32 thousandths
func memLevel(bytes int64) uint8 { return level(bytes, 23) } // units of 8 MiB

// grow makes room for another node.
func (x *index) grow() { x.nodes = append(x.nodes, entry{prev: -1, next: -1}) }

// put files a node under its free amounts. Front decides which end of the
// cell's list: a node just packed stays in front, one just spread goes behind.
func (x *index) put(n account.NodeRow, free account.Vector, front bool) {
	e := &x.nodes[n]
	x.drop(n)
	e.cpu, e.mem, e.in = cpuLevel(free[account.DimCPUs]), memLevel(free[account.DimMem]), true
	head, tail := &x.heads[e.cpu][e.mem], &x.tails[e.cpu][e.mem]
	row := int32(n)
	switch {
	case *head < 0:
		e.prev, e.next, *head, *tail = -1, -1, row, row
		x.rows[e.cpu] |= 1 << e.mem
		x.any |= 1 << e.cpu
	case front:
		e.prev, e.next = -1, *head
		x.nodes[*head].prev = row
		*head = row
	default:
		e.prev, e.next = *tail, -1
		x.nodes[*tail].next = row
		*tail = row
	}
}

// drop takes a node out.
func (x *index) drop(n account.NodeRow) {
	e := &x.nodes[n]
	if !e.in {
		return
	}
	e.in = false
	if e.prev >= 0 {
		x.nodes[e.prev].next = e.next
	} else {
		x.heads[e.cpu][e.mem] = e.next
	}
	if e.next >= 0 {
		x.nodes[e.next].prev = e.prev
	} else {
		x.tails[e.cpu][e.mem] = e.prev
	}
	if x.heads[e.cpu][e.mem] < 0 {
		x.rows[e.cpu] &^= 1 << e.mem
		if x.rows[e.cpu] == 0 {
			x.any &^= 1 << e.cpu
		}
	}
}

// cells yields the lists of nodes that may have need free: fullest cells first,
// or emptiest first. Within a list the order is that of put.
func (x *index) cells(need account.Vector, emptiest bool, yield func(first int32) bool) {
	lowCPU, lowMem := cpuLevel(need[account.DimCPUs]), memLevel(need[account.DimMem])
	levels := x.any &^ (1<<lowCPU - 1)
	for levels != 0 {
		cpu := pick(levels, emptiest)
		levels &^= 1 << cpu
		mems := x.rows[cpu] &^ (1<<lowMem - 1)
		for mems != 0 {
			mem := pick(mems, emptiest)
			mems &^= 1 << mem
			if !yield(x.heads[cpu][mem]) {
				return
			}
		}
	}
}

func pick(set uint64, highest bool) int {
	if highest {
		return 63 - bits.LeadingZeros64(set)
	}
	return bits.TrailingZeros64(set)
}
