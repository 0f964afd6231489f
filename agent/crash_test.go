package agent

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// kill ends the agent as SIGKILL would: what was not on disk is lost.
func (r *rig) kill() {
	r.t.Helper()
	a := r.agent
	gone := make(chan struct{})
	a.post(func() {
		a.store.Close()
		close(gone)
	})
	<-gone
	r.killed = true
	r.halt()
}

// TestCrashes kills the agent at random moments while tasks are started,
// stopped and end by themselves. However it falls: no program is executed
// twice, no exit code is lost or changed, no state goes backwards over all
// sessions, what is wanted runs, what is not wanted ends.
func TestCrashes(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	r := newRig(t)
	want := map[sdk.TaskID]sdk.Assignment{}
	known := map[sdk.TaskID]sdk.TaskStatus{}
	codes := map[sdk.TaskID]int32{}
	made := 0

	hear := func(st sdk.TaskStatus) {
		old, ok := known[st.Task]
		if ok && st.State < old.State && !old.State.Terminal() {
			t.Fatalf("%s went back from %v to %v", st.Task, old.State, st.State)
		}
		if ok && old.State.Terminal() && (st.State != old.State || st.ExitCode != old.ExitCode) {
			t.Fatalf("%s ended twice: %+v, then %+v", st.Task, old, st)
		}
		known[st.Task] = st
	}
	listen := func() {
		for {
			select {
			case st := <-r.srv.news:
				hear(st)
			default:
				return
			}
		}
	}
	all := func() (out []sdk.Assignment) {
		for id, as := range want {
			if !known[id].State.Terminal() {
				out = append(out, as)
			}
		}
		return out
	}
	connect := func() {
		had := map[sdk.TaskID]bool{}
		for _, st := range r.start().hello.Tasks {
			hear(st)
			had[st.Task] = true
		}
		for id, st := range known {
			if !had[id] && st.State > sdk.Staging && !st.State.Terminal() {
				t.Fatalf("%s was %v and the next Hello does not know it", id, st.State)
			}
		}
		r.desire(true, all()...)
	}
	connect()
	for range 25 {
		for range rng.IntN(6) {
			switch rng.IntN(4) {
			case 0, 1:
				made++
				as := assignment(sdk.TaskID(fmt.Sprint("t.", made)))
				want[as.Task] = as
				r.desire(false, as)
			case 2:
				for id, as := range want {
					if as.Goal == sdk.GoalRun && !known[id].State.Terminal() {
						as.Goal, as.Reason, as.Grace = sdk.GoalStop, sdk.ReasonKilledByUser, 20
						want[id] = as
						r.desire(false, as)
						break
					}
				}
			case 3:
				list, err := r.runtime.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range list {
					if code := rng.Int32N(100); c.State == isolation.Running && r.runtime.Exit(c.ID, code) {
						codes[c.ID] = code
						break
					}
				}
			}
		}
		for range rng.IntN(200) {
			r.known() // so many turns of the loop
		}
		listen()
		switch rng.IntN(3) {
		case 0:
			r.kill()
			connect()
		case 1:
			var forget []sdk.TaskID
			for id, st := range known {
				if st.State.Terminal() {
					forget = append(forget, id)
				}
			}
			r.send(sdk.Desired{Forget: forget})
		}
	}
	r.desire(true, all()...)
	r.eventually("all is as wanted", func() bool {
		listen()
		for id, as := range want {
			st := known[id]
			if as.Goal == sdk.GoalRun && st.State != sdk.Running && !st.State.Terminal() || as.Goal == sdk.GoalStop && !st.State.Terminal() {
				return false
			}
		}
		return true
	})
	for id, code := range codes {
		if st := known[id]; st.ExitCode != code || st.State == sdk.Finished != (code == 0) && st.State != sdk.Killed {
			t.Errorf("%s ended with %d and is said to be %+v", id, code, st)
		}
	}
	starts := map[string]int{}
	for _, c := range r.runtime.Calls() {
		if id, ok := strings.CutPrefix(c, "start "); ok {
			if starts[id]++; starts[id] > 1 {
				t.Errorf("%s was started %d times", id, starts[id])
			}
		}
	}
}
