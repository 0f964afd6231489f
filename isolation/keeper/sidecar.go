package keeper

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// sidecarGrace is the time that sidecars have to end politely once the task's
// own program has ended.
const sidecarGrace = 2 * time.Second

// checkSidecars refuses names that cannot be folders of their own. Errors:
// Invalid.
func checkSidecars(s *isolation.Spec) error {
	seen := map[string]bool{}
	for _, p := range s.Sidecars {
		ok := len(p.Name) > 0 && len(p.Name) <= 63
		for _, c := range []byte(p.Name) {
			ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
		}
		if !ok || seen[p.Name] {
			return sdk.Errorf(sdk.Invalid, "task/"+string(s.ID), "%.70q cannot name a sidecar", p.Name).At("sidecars").
				ToFix("give each its own name of small letters, digits and -, 63 at most")
		}
		seen[p.Name] = true
	}
	return nil
}

// attendAll waits for the end of each sidecar that runs. The channel closes when
// all have ended.
func (t *task) attendAll() (left <-chan struct{}) {
	var wg sync.WaitGroup
	for _, p := range t.sidecars {
		if p.ended != nil {
			wg.Go(func() { t.attend(p) })
		}
	}
	all := make(chan struct{})
	go func() {
		wg.Wait()
		close(all)
	}()
	return all
}

// attend waits for the end of a sidecar and ends the task if it failed.
func (t *task) attend(p *program) {
	<-p.ended
	e := p.status()
	p.out.drained()
	count(t.cgroups(p), e)
	p.free()
	e.Ended = now()
	t.sidecarEnded(p, e)
}

// sidecarEnded keeps how a sidecar ended. Success is no matter; the first
// failure ends the task.
func (t *task) sidecarEnded(p *program, e *isolation.Exit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ending {
		return
	}
	e.Sidecar = p.spec.Name
	p.trace.Exit = e
	if err := t.saveRecord(); err != nil {
		logf("%s: exit %d cannot be recorded: %v", p.id, e.Code, err)
	}
	if failed(e) && t.failure == nil {
		t.failure = e
		t.own.kill()
	}
}

func failed(e *isolation.Exit) bool { return !e.Known || e.Code != 0 }

// endSidecars asks those that are left to end, and in the end makes them.
func (t *task) endSidecars(left <-chan struct{}) {
	each := func(sig unix.Signal) {
		for _, p := range slices.Backward(t.sidecars) {
			if p.ctr != nil {
				p.ctr.Signal(sig)
			}
		}
	}
	each(unix.SIGTERM)
	select {
	case <-left:
		return
	case <-time.After(sidecarGrace):
	}
	each(unix.SIGKILL)
	<-left
}

// startSidecars executes the programs of the sidecars that are not yet.
func (t *task) startSidecars() error {
	for _, p := range t.sidecars {
		if p.ended == nil || p.executed() {
			continue // a keeper before this one started it
		}
		if err := p.ctr.Exec(); err != nil {
			return fmt.Errorf("sidecar %s: %w", p.spec.Name, err)
		}
	}
	return nil
}
