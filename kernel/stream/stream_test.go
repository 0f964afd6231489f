package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// events makes n events of one index.
func events(index uint64, n int) []sdk.Event {
	out := make([]sdk.Event, n)
	for i := range out {
		id := sdk.TaskID(fmt.Sprintf("t.%d", i))
		out[i] = sdk.Event{Index: index, Part: uint32(i), Kind: sdk.EventTaskUpdated,
			Task: &sdk.Task{ID: id, Ref: sdk.Ref{Kind: "service", Name: "t"}}}
	}
	return out
}

// take reads n events, or fails.
func take(t *testing.T, s *Sub, n int) (out []sdk.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for len(out) < n {
		e, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %d events: %v", len(out), err)
		}
		out = append(out, e...)
	}
	return out
}

func subscribe(t *testing.T, s *Stream, after sdk.Position, f Filter) *Sub {
	t.Helper()
	sub, err := s.Subscribe(after, f)
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

func TestResumeAnywhere(t *testing.T) {
	s := New(100)
	var all []sdk.Event
	for i := range uint64(10) {
		e := events(i+1, int(i)%4)
		s.Publish(e)
		all = append(all, e...)
	}
	for i := range all {
		got := take(t, subscribe(t, s, sdk.PositionOf(&all[i]), Filter{}), len(all)-i-1)
		for j := range got {
			if sdk.PositionOf(&got[j]) != sdk.PositionOf(&all[i+1+j]) {
				t.Fatalf("after %s: %s at %d", sdk.PositionOf(&all[i]), sdk.PositionOf(&got[j]), j)
			}
		}
	}
	if got := take(t, subscribe(t, s, sdk.Position{}, Filter{}), len(all)); len(got) != len(all) {
		t.Fatalf("from the beginning: %d of %d", len(got), len(all))
	}
	if s.Index() != 10 {
		t.Fatal(s.Index())
	}
}

func TestTooOld(t *testing.T) {
	s := New(10)
	stuck := subscribe(t, s, sdk.Position{}, Filter{})
	for i := range uint64(20) {
		s.Publish(events(i+1, 1))
	}
	_, err := s.Subscribe(sdk.EndOf(5), Filter{})
	if sdk.KindOf(err) != sdk.Conflict {
		t.Fatalf("an old place: %v", err)
	}
	if _, err := stuck.Next(context.Background()); sdk.KindOf(err) != sdk.Conflict {
		t.Fatalf("an overtaken watcher: %v", err)
	}
	take(t, subscribe(t, s, sdk.EndOf(10), Filter{}), 10)
	if got := take(t, subscribe(t, s, sdk.Position{}, Filter{}), 10); got[0].Index != 11 {
		t.Fatalf("the oldest kept is %d", got[0].Index)
	}
	if n := len(s.Recent(sdk.EndOf(12), Filter{}, 100)); n != 8 {
		t.Fatalf("%d recent", n)
	}
	if got := s.Recent(sdk.Position{}, Filter{}, 3); len(got) != 3 || got[2].Index != 20 {
		t.Fatalf("%v", got)
	}
}

// A batch bigger than the stream is handed whole to those who were up to date.
func TestBigBatch(t *testing.T) {
	s := New(4)
	s.Publish(events(1, 1))
	sub := subscribe(t, s, sdk.EndOf(1), Filter{})
	s.Publish(events(2, 50))
	take(t, sub, 50)
}

func TestReset(t *testing.T) {
	s := New(10)
	s.Publish(events(1, 2))
	sub := subscribe(t, s, sdk.EndOf(1), Filter{})
	waiting := make(chan error, 1)
	go func() {
		_, err := sub.Next(context.Background())
		waiting <- err
	}()
	s.Reset(50)
	if err := <-waiting; sdk.KindOf(err) != sdk.Conflict {
		t.Fatal(err)
	}
	if _, err := s.Subscribe(sdk.EndOf(49), Filter{}); sdk.KindOf(err) != sdk.Conflict {
		t.Fatal(err)
	}
	s.Publish(events(51, 1))
	take(t, subscribe(t, s, sdk.EndOf(50), Filter{}), 1)
}

func TestFilter(t *testing.T) {
	s := New(100)
	s.Publish(events(1, 3))
	s.Publish([]sdk.Event{{Index: 2, Kind: sdk.EventNodeChanged, Node: &sdk.Node{Name: "n1"}},
		{Index: 2, Part: 1, Kind: sdk.EventDocumentApplied, Document: &sdk.DocumentChange{Ref: sdk.Ref{Kind: "job", Name: "t"}}}})
	for _, c := range []struct {
		f    Filter
		want int
	}{
		{Filter{}, 5}, {Filter{Kind: "task"}, 3}, {Filter{Kind: "tas"}, 0}, {Filter{Kind: "task.updated"}, 3},
		{Filter{Task: "t.1"}, 1}, {Filter{Ref: sdk.ParseRef("t")}, 4}, {Filter{Ref: sdk.ParseRef("service/t")}, 3},
		{Filter{Ref: sdk.ParseRef("node/n1")}, 1}, {Filter{Ref: sdk.ParseRef("job/t"), Kind: "task"}, 0},
	} {
		if got := s.Recent(sdk.Position{}, c.f, 100); len(got) != c.want {
			t.Errorf("%+v: %d, want %d", c.f, len(got), c.want)
		}
	}
	// What a filter holds back still moves the place.
	sub := subscribe(t, s, sdk.Position{}, Filter{Task: "t.1"})
	take(t, sub, 1)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := sub.Next(ctx); !errors.Is(err, context.Canceled) || sub.Position() != (sdk.Position{Index: 2, Part: 1}) {
		t.Fatalf("%v at %s", err, sub.Position())
	}
}

// A place ahead of this server's log is waited for, and nothing before it told.
func TestPlaceToCome(t *testing.T) {
	s := New(100)
	sub := subscribe(t, s, sdk.EndOf(3), Filter{})
	for i := range uint64(5) {
		s.Publish(events(i+1, 2))
	}
	if got := take(t, sub, 4); got[0].Index != 4 {
		t.Fatalf("told of %d", got[0].Index)
	}
}

// A thousand watchers, quick and slow, while events are published: each sees
// every event once and in order, or is told that it was overtaken and resumes.
func TestManyWatchers(t *testing.T) {
	const batches, watchers = 500, 1000
	s := New(200)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	overtaken := make([]int, watchers)
	for w := range watchers {
		wg.Go(func() {
			sub, err := s.Subscribe(sdk.Position{}, Filter{})
			var last sdk.Position
			for {
				if err != nil {
					if sdk.KindOf(err) != sdk.Conflict {
						t.Error(err)
						return
					}
					overtaken[w]++
					last = sdk.Position{}
					sub, err = s.Subscribe(last, Filter{})
					continue
				}
				var got []sdk.Event
				if got, err = sub.Next(ctx); err != nil {
					continue
				}
				for i := range got {
					p := sdk.PositionOf(&got[i])
					follows := p.Index == last.Index && p.Part == last.Part+1 || p.Index == last.Index+1 && p.Part == 0
					if last != (sdk.Position{}) && !follows {
						t.Errorf("%s after %s", p, last)
						return
					}
					last = p
				}
				if last.Index == batches {
					return
				}
				if w%2 == 0 { // a slow one: gives way now and then
					for range rand.IntN(5) {
						time.Sleep(time.Microsecond)
					}
				}
			}
		})
	}
	for i := range uint64(batches) {
		s.Publish(events(i+1, 3))
	}
	wg.Wait()
	n := 0
	for _, o := range overtaken {
		n += o
	}
	t.Logf("overtaken %d times", n)
}

// A watcher that stops reading must not hold the past in memory.
func TestStuckWatcherHoldsNothing(t *testing.T) {
	s := New(10)
	s.Publish(events(1, 1))
	stuck := subscribe(t, s, sdk.Position{}, Filter{})
	for i := range uint64(100) {
		s.Publish(events(i+2, 1))
	}
	n := 0
	for b := stuck.at; b != nil; b = b.next.Load() {
		n++
	}
	if n > 12 {
		t.Fatalf("%d batches are still reachable", n)
	}
}

func TestChannel(t *testing.T) {
	s := New(100)
	ctx, cancel := context.WithCancel(context.Background())
	ch, err := s.Channel(ctx, sdk.Position{}, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	s.Publish(events(1, 40))
	for i := range 40 {
		if e := <-ch; e.Part != uint32(i) {
			t.Fatalf("part %d at %d", e.Part, i)
		}
	}
	cancel()
	for range ch {
		t.Fatal("an event out of nothing")
	}
}

func BenchmarkPublish(b *testing.B) {
	s := New(1 << 16)
	e := events(1, 1)
	b.ReportAllocs()
	for i := range b.N {
		e[0].Index = uint64(i + 1)
		s.Publish(e)
	}
}
