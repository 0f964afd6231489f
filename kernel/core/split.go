package core

import (
	"github.com/drupe-os/drupe/sdk"
)

// MaxAction is the largest action a framework may ask for, in bytes as encoded:
// less than an entry of the log, so that every answer fits into some entries.
const MaxAction = 192 << 10

// Split cuts a command whose encoding might exceed most bytes into such as do
// not, to be applied in this order. Together they do what the one would have
// done: an answer of a framework is kept until its last part is there, and the
// decisions of a placement and the statuses of a report stand for themselves.
// Other commands, and pieces that cannot be cut, are returned as they are.
func (c *Command) Split(most int) []Command {
	if c.Msgsize() <= most {
		return []Command{*c}
	}
	switch {
	case c.Framework != nil:
		return c.Framework.split(most)
	case c.Place != nil:
		return c.Place.split(most)
	case c.Report != nil:
		return c.Report.split(most)
	}
	return []Command{*c}
}

// Upper estimates of what a command takes beside its lists.
const (
	commandSize = 128
	nameSize    = 32
)

func (c *FrameworkCommit) split(most int) []Command {
	var out []Command
	for begin := 0; ; {
		end := take(len(c.Actions), begin, most-commandSize-len(c.Plugin), func(i int) int { return sizeOf(&c.Actions[i], most) })
		part := *c
		part.Actions, part.Part, part.More = c.Actions[begin:end], uint32(len(out)), end < len(c.Actions)
		out = append(out, Command{Framework: &part})
		if begin = end; begin == len(c.Actions) {
			return out
		}
	}
}

// sizeOf is how long an action is: the codec's estimate, which is quick and too
// high, where that is small, and otherwise the truth.
func sizeOf(a *sdk.Action, most int) int {
	n := a.Msgsize()
	if n > most/8 {
		if b, err := a.MarshalMsg(nil); err == nil {
			n = len(b)
		}
	}
	return n
}

// take returns the end of the longest run from begin whose sizes stay within
// room; it has one element at least.
func take(n, begin, room int, size func(int) int) (end int) {
	for end = begin; end < n; end++ {
		if room -= size(end); room < 0 && end > begin {
			break
		}
	}
	return end
}

func (c *ReportStatuses) split(most int) []Command {
	var out []Command
	for begin := 0; begin < len(c.Statuses); {
		end := take(len(c.Statuses), begin, most-commandSize-len(c.Node), func(i int) int { return c.Statuses[i].Msgsize() })
		out = append(out, Command{Report: &ReportStatuses{Node: c.Node, Statuses: c.Statuses[begin:end]}})
		begin = end
	}
	return out
}

// split cuts the lists of a placement, each piece with the demands it names.
func (c *Placement) split(most int) []Command {
	var out []Command
	var piece *Placement
	var room int
	rows := map[uint32]uint32{} // of c.Demands in piece.Demands
	begin := func() {
		piece = &Placement{Policy: c.Policy, Generation: c.Generation}
		out = append(out, Command{Place: piece})
		room = most - commandSize - len(c.Policy)
		clear(rows)
	}
	// row returns a demand's row in the piece that has size bytes left.
	row := func(demand uint32, size int) uint32 {
		at, ok := rows[demand]
		if !ok && int(demand) < len(c.Demands) {
			size += nameSize + len(c.Demands[demand].Plugin) + len(c.Demands[demand].Name)
		}
		if room < size {
			begin()
			at, ok = 0, false
		}
		room -= size
		if !ok && int(demand) < len(c.Demands) {
			at = uint32(len(piece.Demands))
			piece.Demands = append(piece.Demands, c.Demands[demand])
			rows[demand] = at
		}
		return at
	}
	begin()
	piece.Refused = c.Refused
	for _, r := range c.Runs {
		at := row(r.Demand, nameSize)
		piece.Runs = append(piece.Runs, Run{at, r.Node, r.Count})
	}
	for i := range c.Offers {
		o := c.Offers[i]
		at := row(o.Demand, o.Msgsize())
		o.Demand = at
		piece.Offers = append(piece.Offers, o)
	}
	for _, w := range c.Waiting {
		at := row(w.Demand, nameSize)
		piece.Waiting = append(piece.Waiting, WaitReason{at, w.Reason})
	}
	return out
}
