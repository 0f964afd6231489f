package agent

import (
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// TestSamples: what running tasks use is told again and again, and nothing is
// said while nothing runs.
func TestSamples(t *testing.T) {
	r := newRig(t)
	r.sample = 10 * time.Millisecond
	r.start()
	r.desire(true, assignment("s.web.0.1"), assignment("s.web.1.1"))
	r.until("s.web.0.1", sdk.Running)
	r.until("s.web.1.1", sdk.Running)
	r.runtime.SetUsage("s.web.0.1", sdk.Usage{CPU: 250, Mem: 7 << 20})
	next := func() map[sdk.TaskID]sdk.Usage {
		t.Helper()
		select {
		case u := <-r.srv.usage:
			by := map[sdk.TaskID]sdk.Usage{}
			for _, s := range u.Usages {
				by[s.Task] = s
			}
			return by
		case <-time.After(20 * time.Second):
			t.Fatal("no sample")
			return nil
		}
	}
	for u := next(); u["s.web.0.1"].CPU != 250 || u["s.web.0.1"].Mem != 7<<20 || len(u) != 2; {
		u = next()
	}
	r.runtime.Exit("s.web.0.1", 0)
	r.runtime.Exit("s.web.1.1", 0)
	r.until("s.web.0.1", sdk.Finished)
	r.until("s.web.1.1", sdk.Finished)
	r.eventually("nothing to measure", func() bool {
		idle := make(chan bool, 1)
		r.agent.post(func() {
			before := r.agent.sampling
			r.agent.sample()
			idle <- !before && !r.agent.sampling
		})
		return <-idle
	})
}
