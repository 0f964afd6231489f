package core

import "github.com/drupe-os/drupe/sdk"

// wakeAt sees to it that the state's clock is looked at when t comes.
func (s *State) wakeAt(t sdk.Time) {
	if t != 0 && (s.wake == 0 || t < s.wake) {
		s.wake = t
	}
}

// Due returns when time alone will change something next, 0 for never. The
// leader then proposes an entry, which may be empty: entries carry the time.
func (s *State) Due() sdk.Time { return s.wake }

// advance does what the passing of time does by itself: offers expire, timers
// fire, held-back demands come due, declines are over.
func (s *State) advance() {
	if s.wake == 0 || s.now < s.wake {
		return
	}
	s.expireOffers()
	s.fireTimers()
	s.releaseBackoff()

	s.wake = 0
	for _, o := range s.offers {
		s.wakeAt(o.Expires)
	}
	for _, f := range s.frameworks {
		for _, at := range f.timers {
			s.wakeAt(at)
		}
	}
	for _, d := range s.demands {
		if d.NotBefore > s.now {
			s.wakeAt(d.NotBefore)
		}
	}
	s.wakeAt(s.book.NextExpiry())
}
