package plan

import (
	"math/rand/v2"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

const now = sdk.Time(100_000)

func status(s sdk.TaskState, r sdk.Reason) Step { return Step{Op: SetStatus, State: s, Reason: r} }

func TestNext(t *testing.T) {
	byUser := sdk.ReasonKilledByUser
	tests := []struct {
		name string
		task Task
		want Step
	}{
		{"new", Task{Goal: Run}, status(sdk.Starting, 0)},
		{"fetch", Task{Goal: Run, State: sdk.Starting}, Step{Op: Fetch}},
		{"fetching", Task{Goal: Run, State: sdk.Starting, InFlight: Fetch}, Step{}},
		{"create", Task{Goal: Run, State: sdk.Starting, ImageReady: true}, Step{Op: Create}},
		{"creating", Task{Goal: Run, State: sdk.Starting, ImageReady: true, InFlight: Create}, Step{}},
		{"start", Task{Goal: Run, State: sdk.Starting, ImageReady: true, Seen: Created}, Step{Op: Start}},
		{"re-adopted before start", Task{Goal: Run, State: sdk.Starting, Seen: Created}, Step{Op: Start}},
		{"runs", Task{Goal: Run, State: sdk.Starting, Seen: Running, Launched: true}, status(sdk.Running, 0)},
		{"runs on", Task{Goal: Run, State: sdk.Running, Seen: Running, Launched: true}, Step{}},
		{"found running without a record", Task{Goal: Run, Seen: Running}, status(sdk.Running, 0)},
		{"found stopped without a record", Task{Goal: Run, Seen: Stopped, Exit: Exit{Known: true, Code: 3}}, status(sdk.Failed, sdk.ReasonExited)},

		{"fetch fails", Task{Goal: Run, State: sdk.Starting, Fault: sdk.ReasonImageNotFound}, status(sdk.Failed, sdk.ReasonImageNotFound)},
		{"bad template", Task{Goal: Run, State: sdk.Starting, Fault: sdk.ReasonInvalidTemplate}, status(sdk.Error, sdk.ReasonInvalidTemplate)},
		{"start fails", Task{Goal: Run, State: sdk.Starting, Seen: Created, Launched: true, Fault: sdk.ReasonCommandNotFound}, status(sdk.Failed, sdk.ReasonCommandNotFound)},
		{"start said to fail but runs", Task{Goal: Run, State: sdk.Starting, Seen: Running, Fault: sdk.ReasonStartFailed}, status(sdk.Running, 0)},

		{"ends well", Task{Goal: Run, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true}}, status(sdk.Finished, sdk.ReasonExited)},
		{"ends badly", Task{Goal: Run, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true, Code: 1}}, status(sdk.Failed, sdk.ReasonExited)},
		{"ends at once", Task{Goal: Run, State: sdk.Starting, Seen: Stopped, Exit: Exit{Known: true}}, status(sdk.Finished, sdk.ReasonExited)},
		{"signaled", Task{Goal: Run, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true, Code: 139}}, status(sdk.Failed, sdk.ReasonSignaled)},
		{"out of memory", Task{Goal: Run, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true, Code: 137, OOM: true}}, status(sdk.Failed, sdk.ReasonOOM)},
		{"child out of memory, ends well", Task{Goal: Run, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true, OOM: true}}, status(sdk.Finished, sdk.ReasonExited)},
		{"pids limit", Task{Goal: Run, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true, Code: 2, Pids: true}}, status(sdk.Failed, sdk.ReasonPidsLimit)},
		{"disk limit", Task{Goal: Run, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true, Code: 137, Disk: true}}, status(sdk.Failed, sdk.ReasonDiskLimit)},
		{"disk limit, ends well", Task{Goal: Run, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true, Disk: true}}, status(sdk.Finished, sdk.ReasonExited)},
		{"nobody saw how", Task{Goal: Run, State: sdk.Running, Seen: Stopped}, status(sdk.Failed, sdk.ReasonExitUnknown)},
		{"lost while running", Task{Goal: Run, State: sdk.Running}, status(sdk.Failed, sdk.ReasonExitUnknown)},
		{"lost while starting", Task{Goal: Run, State: sdk.Starting, Launched: true, ImageReady: true}, status(sdk.Failed, sdk.ReasonExitUnknown)},

		{"stop before anything", Task{Goal: Stop, StopReason: byUser}, status(sdk.Killed, byUser)},
		{"stop while fetching", Task{Goal: Stop, StopReason: byUser, State: sdk.Starting, InFlight: Fetch}, status(sdk.Killed, byUser)},
		{"stop while creating", Task{Goal: Stop, StopReason: byUser, State: sdk.Starting, InFlight: Create}, Step{}},
		{"stop after create", Task{Goal: Stop, StopReason: byUser, State: sdk.Starting, Seen: Created}, Step{Op: Remove}},
		{"stop after a failed start", Task{Goal: Stop, StopReason: byUser, State: sdk.Starting, Seen: Created, Fault: sdk.ReasonCommandNotFound}, status(sdk.Failed, sdk.ReasonCommandNotFound)},
		{"stop just started", Task{Goal: Stop, StopReason: byUser, State: sdk.Starting, Seen: Running}, status(sdk.Running, 0)},
		{"stop", Task{Goal: Stop, StopReason: byUser, State: sdk.Running, Seen: Running}, status(sdk.Killing, byUser)},
		{"stop, had ended by itself", Task{Goal: Stop, StopReason: byUser, State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true}}, status(sdk.Finished, sdk.ReasonExited)},
		{"term", Task{Goal: Stop, State: sdk.Killing, Saved: true, Reason: byUser, Seen: Running}, Step{Op: Term}},
		{"killing, not saved", Task{Goal: Stop, State: sdk.Killing, Reason: byUser, Seen: Running}, Step{}},
		{"no grace", Task{Goal: Stop, State: sdk.Killing, Saved: true, Reason: byUser, Seen: Running, Grace: -1}, Step{Op: Kill}},
		{"grace", Task{Goal: Stop, State: sdk.Killing, Saved: true, Seen: Running, Termed: now - 4999}, Step{Wake: now + 1}},
		{"grace over", Task{Goal: Stop, State: sdk.Killing, Saved: true, Seen: Running, Termed: now - 5000}, Step{Op: Kill}},
		{"longer grace", Task{Goal: Stop, State: sdk.Killing, Saved: true, Seen: Running, Termed: now - 5000, Grace: 6000}, Step{Wake: now + 1000}},
		{"killed", Task{Goal: Stop, State: sdk.Killing, Saved: true, Seen: Running, Termed: 1, Killed: now - 1}, Step{Wake: now - 1 + sdk.Time(KillAgain)}},
		{"kill again", Task{Goal: Stop, State: sdk.Killing, Saved: true, Seen: Running, Termed: 1, Killed: now - sdk.Time(KillAgain)}, Step{Op: Kill}},
		{"killing goes on though run is wanted", Task{Goal: Run, State: sdk.Killing, Saved: true, Reason: byUser, Seen: Running}, Step{Op: Term}},
		{"is killed", Task{Goal: Stop, State: sdk.Killing, Reason: byUser, Seen: Stopped, Exit: Exit{Known: true, Code: 143}}, status(sdk.Killed, byUser)},
		{"is killed, ends well", Task{Goal: Stop, State: sdk.Killing, Reason: byUser, Seen: Stopped, Exit: Exit{Known: true}}, status(sdk.Killed, byUser)},
		{"lost while killing", Task{Goal: Stop, State: sdk.Killing, Reason: byUser}, status(sdk.Killed, byUser)},

		{"unhealthy", Task{Goal: Run, State: sdk.Running, Seen: Running, Unhealthy: true}, status(sdk.Killing, sdk.ReasonUnhealthy)},
		{"unhealthy, ended", Task{Goal: Run, State: sdk.Killing, Reason: sdk.ReasonUnhealthy, Seen: Stopped, Exit: Exit{Known: true, Code: 143}}, status(sdk.Failed, sdk.ReasonUnhealthy)},

		{"resize", Task{Goal: Run, State: sdk.Running, Seen: Running, Resize: true, ResizeAt: now}, Step{Op: Resize}},
		{"resize failed just now", Task{Goal: Run, State: sdk.Running, Seen: Running, Resize: true, ResizeAt: now + 5}, Step{Wake: now + 5}},
		{"resizing", Task{Goal: Run, State: sdk.Running, Seen: Running, Resize: true, InFlight: Resize}, Step{}},
		{"resize and stop", Task{Goal: Stop, StopReason: byUser, State: sdk.Running, Seen: Running, Resize: true, ResizeAt: now + 5}, status(sdk.Killing, byUser)},
		{"unknown is not resized", Task{State: sdk.Running, Seen: Running, Resize: true}, Step{}},

		{"unknown runs on", Task{State: sdk.Running, Seen: Running}, Step{}},
		{"unknown is not started", Task{State: sdk.Starting, Seen: Created}, Step{}},
		{"unknown is not fetched", Task{State: sdk.Starting}, Step{}},
		{"unknown and unhealthy is left alone", Task{State: sdk.Running, Seen: Running, Unhealthy: true}, Step{}},
		{"unknown is reported when found", Task{Seen: Running}, status(sdk.Running, 0)},
		{"unknown is reported when it ends", Task{State: sdk.Running, Seen: Stopped, Exit: Exit{Known: true}}, status(sdk.Finished, sdk.ReasonExited)},

		{"ended, not saved", Task{State: sdk.Finished, Seen: Stopped}, Step{}},
		{"ended, saved", Task{State: sdk.Finished, Seen: Stopped, Saved: true}, Step{Op: Remove}},
		{"ended, removing", Task{State: sdk.Finished, Seen: Stopped, Saved: true, InFlight: Remove}, Step{}},
		{"ended, removed", Task{State: sdk.Finished, Saved: true}, Step{}},
		{"ended, forgotten while stopped", Task{State: sdk.Finished, Seen: Stopped, Saved: true, Forget: true}, Step{Op: Remove}},
		{"ended, forgotten", Task{State: sdk.Finished, Saved: true, Forget: true}, Step{Op: Forget}},
		{"over for the servers, runs here", Task{State: sdk.Running, Seen: Running, Forget: true}, status(sdk.Killing, sdk.ReasonNodeLost)},
		{"over for the servers, not begun here", Task{State: sdk.Starting, Forget: true}, status(sdk.Killed, sdk.ReasonNodeLost)},
		{"ended yet runs", Task{State: sdk.Failed, Seen: Running, Saved: true}, Step{Op: Kill}},
	}
	for _, tt := range tests {
		if got := Next(&tt.task, now); got != tt.want {
			t.Errorf("%s: got %v %v %v wake %d, want %v %v %v wake %d", tt.name,
				got.Op, got.State, got.Reason, got.Wake, tt.want.Op, tt.want.State, tt.want.Reason, tt.want.Wake)
		}
	}
}

// TestRules checks on random tasks the three rules of the package comment.
func TestRules(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	flag := func() bool { return r.IntN(2) == 0 }
	for range 200_000 {
		task := Task{
			Goal: Goal(r.IntN(3)), State: sdk.TaskState(r.IntN(int(sdk.Gone) + 1)), Seen: Seen(r.IntN(4)),
			InFlight: Op(r.IntN(int(Remove) + 1)), ImageReady: flag(), Launched: flag(), Unhealthy: flag(),
			Saved: flag(), Forget: flag(), Exit: Exit{Known: flag(), OOM: flag(), Code: int32(r.IntN(200))},
			Termed: sdk.Time(r.IntN(2)) * (now - sdk.Time(r.IntN(10000))),
		}
		if r.IntN(4) == 0 {
			task.Fault = sdk.ReasonStartFailed
		}
		s := Next(&task, now)
		if s.Op == SetStatus && s.State <= task.State {
			t.Fatalf("%+v: state goes back to %v", task, s.State)
		}
		if task.InFlight != Nothing && task.InFlight != Fetch && s.Op != Nothing {
			t.Fatalf("%+v: %v while %v is in flight", task, s.Op, task.InFlight)
		}
		if task.State >= sdk.Killing && (s.Op == Start || s.Op == Create || s.Op == Fetch) {
			t.Fatalf("%+v: %v of a task that is to end", task, s.Op)
		}
		if task.Goal == Unknown && !task.Forget && !task.State.Terminal() && task.State != sdk.Killing {
			switch s.Op {
			case Fetch, Create, Start, Term, Kill, Remove, Forget:
				t.Fatalf("%+v: %v of a task the servers do not know", task, s.Op)
			}
		}
		if s.Op == Remove && task.Seen == Stopped && !task.Saved {
			t.Fatalf("%+v: its exit is removed before it is saved", task)
		}
		if s.Op == Forget && !(task.State.Terminal() && task.Forget) {
			t.Fatalf("%+v: forgotten too early", task)
		}
	}
}

// TestStopEnds drives a stop from every state and sees it end.
func TestStopEnds(t *testing.T) {
	for _, start := range []Task{
		{}, {State: sdk.Starting}, {State: sdk.Starting, InFlight: Fetch},
		{State: sdk.Starting, Seen: Created}, {State: sdk.Starting, Seen: Running, Launched: true},
		{State: sdk.Running, Seen: Running, Launched: true}, {State: sdk.Killing, Saved: true, Seen: Running, Termed: 1},
	} {
		task, clock := start, now
		task.Goal, task.StopReason = Stop, sdk.ReasonKilledByUser
		for range 20 {
			s := Next(&task, clock)
			switch s.Op {
			case SetStatus:
				task.State, task.Reason, task.Saved = s.State, s.Reason, true
			case Term: // ignored by the task
				task.Termed = clock
			case Kill:
				task.Killed, task.Seen = clock, Stopped
			case Remove:
				task.Seen = Absent
			case Nothing:
				clock = max(clock, s.Wake)
			}
		}
		if !task.State.Terminal() {
			t.Errorf("from %+v: still %v", start, task.State)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	task := Task{Goal: Run, State: sdk.Running, Seen: Running}
	if n := testing.AllocsPerRun(100, func() { Next(&task, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNext(b *testing.B) {
	task := Task{Goal: Run, State: sdk.Running, Seen: Running}
	for b.Loop() {
		Next(&task, now)
	}
}
