package offer

import (
	"cmp"
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// portSet is the pool of host ports of one node and which of them are taken.
type portSet struct {
	pool  []sdk.Range
	taken map[uint16]bool
	next  uint16 // where the search for a free port begins
}

// poolOf makes a pool of the ranges a node states: sorted, each port once,
// without port 0, which is none.
func poolOf(ranges []sdk.Range) []sdk.Range {
	var out []sdk.Range
	for _, r := range slices.SortedFunc(slices.Values(ranges), func(a, b sdk.Range) int { return cmp.Compare(a.First, b.First) }) {
		r.First = max(r.First, 1)
		if k := len(out) - 1; k >= 0 && r.First <= out[k].Last {
			out[k].Last = max(out[k].Last, r.Last)
		} else if r.First <= r.Last {
			out = append(out, r)
		}
	}
	return out
}

// size is the number of ports in the pool.
func (p *portSet) size() int {
	n := 0
	for _, r := range p.pool {
		n += int(r.Last) - int(r.First) + 1
	}
	return n
}

// has reports whether the pool contains a port, taken or not.
func (p *portSet) has(port uint16) bool {
	for _, r := range p.pool {
		if port >= r.First && port <= r.Last {
			return true
		}
	}
	return false
}

// free reports whether a port may be given out.
func (p *portSet) free(port uint16) bool { return p.has(port) && !p.taken[port] }

// take marks a port as taken.
func (p *portSet) take(port uint16) {
	if p.taken == nil {
		p.taken = map[uint16]bool{}
	}
	p.taken[port] = true
}

// give marks a port as free.
func (p *portSet) give(port uint16) { delete(p.taken, port) }

// any takes the next free port after the last one given out, so that a port
// rests for as long as the pool allows before it is used again: connections of
// its last owner may still be in the network. 0 when none is free.
func (p *portSet) any() uint16 {
	if len(p.pool) == 0 {
		return 0
	}
	if !p.has(p.next) {
		p.next = p.pool[0].First
	}
	start := p.next
	for {
		port := p.next
		p.next = p.after(port)
		if !p.taken[port] {
			p.take(port)
			return port
		}
		if p.next == start {
			return 0
		}
	}
}

// after is the port that follows in the pool, round and round.
func (p *portSet) after(port uint16) uint16 {
	for i, r := range p.pool {
		if port >= r.First && port < r.Last {
			return port + 1
		}
		if port == r.Last {
			return p.pool[(i+1)%len(p.pool)].First
		}
	}
	return p.pool[0].First
}
