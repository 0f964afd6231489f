// Package stream hands committed events to those who watch.
//
// It keeps the last so many events in memory. A watcher names the place after
// which it wants to read and gets every event from there on, in order, without
// gap; one that comes too late, or reads too slowly, is told so and lists anew.
// Publishing waits for nobody: events lie in a chain of batches, watchers walk
// along it without a lock, and what is no longer kept is cut off behind them.
// All who have read to the end wait for one and the same wake-up.
package stream

import (
	"cmp"
	"slices"
	"sync/atomic"

	"github.com/drupe-os/drupe/sdk"
)

// Stream is the recent past of the log, as events. One goroutine at a time may
// call Publish and Reset; everything else may be called by all at once.
type Stream struct {
	capacity int
	kept     int // events in the chain from head on
	head     atomic.Pointer[batch]
	tail     *batch
	dropped  *batch // the last one cut off, still joined to head
	index    atomic.Uint64
}

// batch is what one Publish added.
type batch struct {
	before sdk.Position // the place before the first event
	events []sdk.Event
	next   atomic.Pointer[batch]
	ready  chan struct{} // closed once there is a next, or never will be
}

// New returns an empty stream that keeps at least the last batch, and otherwise
// at most capacity events.
func New(capacity int) *Stream {
	s := &Stream{capacity: capacity}
	s.begin(sdk.Position{})
	return s
}

// begin starts a chain after a place.
func (s *Stream) begin(before sdk.Position) {
	root := &batch{before: before, ready: make(chan struct{})}
	s.tail, s.kept, s.dropped = root, 0, nil
	s.head.Store(root)
}

// Publish adds events, which must come after all published before. It never
// waits. The slice may be reused, what the events point to may not.
func (s *Stream) Publish(events []sdk.Event) {
	if len(events) == 0 {
		return
	}
	b := &batch{before: s.last(), events: slices.Clone(events), ready: make(chan struct{})}
	s.index.Store(events[len(events)-1].Index)
	s.tail.next.Store(b)
	close(s.tail.ready)
	s.tail = b
	s.kept += len(events)
	for s.kept > s.capacity && s.head.Load() != s.tail {
		s.drop()
	}
}

// drop cuts the oldest batch off. The one before it is separated from the
// chain, so that a watcher stuck there holds nothing but that one in memory.
// The oldest itself stays joined until the next drop: who has read it whole has
// missed nothing yet.
func (s *Stream) drop() {
	old := s.head.Load()
	s.kept -= len(old.events)
	s.head.Store(old.next.Load())
	if s.dropped != nil {
		s.dropped.next.Store(nil)
	}
	s.dropped = old
}

// Reset forgets all events, as after a snapshot was installed: those up to the
// index are not kept. Watchers are told to list anew.
func (s *Stream) Reset(index uint64) {
	old := s.tail
	if s.dropped != nil {
		s.dropped.next.Store(nil)
	}
	s.begin(sdk.EndOf(index))
	s.index.Store(index)
	close(old.ready)
}

// last returns the place of the newest event.
func (s *Stream) last() sdk.Position {
	if n := len(s.tail.events); n > 0 {
		return sdk.PositionOf(&s.tail.events[n-1])
	}
	return s.tail.before
}

// Index returns the log index of the newest event, 0 when there was none.
func (s *Stream) Index() uint64 { return s.index.Load() }

// Subscribe begins reading after a place. The zero Position means from the
// oldest event kept. A place yet to come is waited for. Errors: Conflict when
// events after the place are no longer kept.
func (s *Stream) Subscribe(after sdk.Position, f Filter) (*Sub, error) {
	for {
		b := s.head.Load()
		if after != (sdk.Position{}) && after.Before(b.before) {
			return nil, s.tooOld()
		}
		if b, i, ok := find(b, after); ok {
			return &Sub{stream: s, filter: f, at: b, i: i, seen: after}, nil
		}
	}
}

// find returns the first event after a place, from b on, or the end of the
// chain. It reports false when the chain was cut meanwhile.
func find(b *batch, after sdk.Position) (*batch, int, bool) {
	for {
		n := len(b.events)
		if n > 0 && after.Before(sdk.PositionOf(&b.events[n-1])) {
			i, _ := slices.BinarySearchFunc(b.events, after, func(e sdk.Event, p sdk.Position) int {
				if p.Before(sdk.PositionOf(&e)) {
					return 1
				}
				return -1
			})
			return b, i, true
		}
		next := b.next.Load()
		if next == nil {
			select {
			case <-b.ready:
				if next = b.next.Load(); next == nil {
					return nil, 0, false
				}
			default:
				return b, n, true
			}
		}
		b = next
	}
}

// Recent returns the kept events after a place that pass the filter, oldest
// first, the newest limit of them.
func (s *Stream) Recent(after sdk.Position, f Filter, limit int) []sdk.Event {
	var out []sdk.Event
	for b := s.head.Load(); b != nil; b = b.next.Load() {
		for i := range b.events {
			e := &b.events[i]
			if after.Before(sdk.PositionOf(e)) && f.Match(e) {
				out = append(out, *e)
			}
		}
		if len(out) > 2*limit {
			out = slices.Clone(out[len(out)-limit:])
		}
	}
	return out[max(0, len(out)-limit):]
}

// tooOld is the fault of those who come too late.
func (s *Stream) tooOld() *sdk.Fault {
	kept := s.head.Load().before
	return sdk.Errorf(sdk.Conflict, "events", "events before %s are no longer kept", kept).
		Because("only the last %d or so are", cmp.Or(s.capacity, 1)).
		ToFix("list again and resume from the present index, %d", s.Index())
}
