package runc_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// One node holds hundreds of containers: each answers, all are told of and
// measured at once, and they end and go as they came.
func TestHundreds(t *testing.T) {
	const many = 200
	n := newNode(t)
	each := func(what string, do func(id sdk.TaskID) error) {
		t.Helper()
		begun := time.Now()
		var all sync.WaitGroup
		turn := make(chan struct{}, 8)
		for i := range many {
			turn <- struct{}{}
			all.Go(func() {
				defer func() { <-turn }()
				if err := do(sdk.TaskID(fmt.Sprintf("t%03d", i))); err != nil {
					t.Errorf("%s %d: %v", what, i, err)
				}
			})
		}
		all.Wait()
		t.Logf("%s %d: %v", what, many, time.Since(begun).Round(time.Millisecond))
		if t.Failed() {
			t.FailNow()
		}
	}
	each("create and start", func(id sdk.TaskID) error {
		s := n.spec(string(id), "/bin/busybox", "sleep", "1000")
		s.Limits.Memory = 8 << 20
		if err := n.Create(n.ctx, s); err != nil {
			return err
		}
		return n.Start(n.ctx, id)
	})
	in := func(want isolation.State) int {
		list, err := n.List(n.ctx)
		if err != nil {
			t.Fatal(err)
		}
		k := 0
		for _, c := range list {
			if c.State == want {
				k++
			}
		}
		return k
	}
	if k := in(isolation.Running); k != many {
		t.Fatalf("%d run", k)
	}
	begun := time.Now()
	if u, err := n.Usage(n.ctx); err != nil || len(u) != many {
		t.Fatalf("usage of %d, %v", len(u), err)
	}
	t.Logf("usage of all: %v", time.Since(begun).Round(time.Millisecond))
	// A keeper that finds so many is soon there.
	n.crash()
	begun = time.Now()
	n.open()
	t.Logf("adopted: %v", time.Since(begun).Round(time.Millisecond))
	if k := in(isolation.Running); k != many {
		t.Fatalf("%d run after the crash", k)
	}
	each("kill", func(id sdk.TaskID) error { return n.Signal(n.ctx, id, 9, true) })
	n.until("all to stop", func() bool { return in(isolation.Stopped) == many })
	list, err := n.List(n.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if !c.Exit.Known || c.Exit.Code != 137 {
			t.Errorf("%s: %+v", c.ID, c.Exit)
		}
	}
	each("remove", func(id sdk.TaskID) error { return n.Remove(n.ctx, id) })
}
