package fair

import "math/bits"

// share is how much of its dominant resource somebody holds, divided by weight:
// held / (total × weight). Shares are compared exactly: accounts in bytes and
// thousandths do not survive rounding, and every replica must agree.
type share struct {
	held, total, weight int64
	// approx is the same number rounded. It settles every comparison that is
	// not close; the exact products settle the rest.
	approx float64
}

// margin is far above the relative error of approx, which is below 2^-50.
const margin = 1e-12

// compare returns -1, 0 or 1 as a is less than, equal to or more than b.
func (a *share) compare(b *share) int {
	if d := a.approx - b.approx; d > margin*a.approx {
		return 1
	} else if -d > margin*b.approx {
		return -1
	}
	return compare3(a.held, b.total, b.weight, b.held, a.total, a.weight)
}

// compare3 compares a×b×c with d×e×f; none may be negative.
func compare3(a, b, c, d, e, f int64) int {
	x2, x1, x0 := mul3(uint64(a), uint64(b), uint64(c))
	y2, y1, y0 := mul3(uint64(d), uint64(e), uint64(f))
	switch {
	case x2 != y2:
		return less(x2 < y2)
	case x1 != y1:
		return less(x1 < y1)
	case x0 != y0:
		return less(x0 < y0)
	}
	return 0
}

func less(yes bool) int {
	if yes {
		return -1
	}
	return 1
}

// mul3 returns a×b×c in 192 bits, high word first.
func mul3(a, b, c uint64) (hi, mid, lo uint64) {
	h, l := bits.Mul64(a, b)
	carry, lo := bits.Mul64(l, c)
	hi, mid = bits.Mul64(h, c)
	mid, over := bits.Add64(mid, carry, 0)
	return hi + over, mid, lo
}

// dominant returns the share of one who holds held, of all there is. Ports do
// not count: they are many and nobody is short of them alone. What there is none
// of does not count either.
func dominant(held, total []int64, weight int64) share {
	s := share{total: 1, weight: weight}
	most := 0.0
	for r, t := range total {
		if t <= 0 || r == dimPorts || held[r] <= 0 {
			continue
		}
		part := float64(held[r]) / float64(t)
		if d := part - most; d > margin*part ||
			d >= -margin*most && compare3(held[r], s.total, 1, s.held, t, 1) > 0 {
			s.held, s.total, most = held[r], t, part
		}
	}
	s.approx = most / float64(weight)
	return s
}
