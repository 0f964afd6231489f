// Package plan decides what a node does next for one task.
//
// Next is a pure function of what is wanted, what was last said of the task,
// and what the runtime shows: no clock, no I/O, no memory of its own, and no
// allocation. It answers with one step; whoever carries the step out looks
// again and asks again. So a lost answer, a crash between two steps or a
// repeated message never needs a special case. Agents and the cluster
// simulator drive the same code.
//
// Three rules hold for every answer: a state is only followed by a later one; a
// task that is wanted gone goes, whatever it was doing; a task the servers do
// not know is watched and reported, never touched. A task that they know to be
// over is not unknown: if it still runs here, it is ended.
package plan

import "github.com/drupe-os/drupe/sdk"

// Goal is what is wanted of a task, as far as its node knows.
type Goal uint8

// The goals.
const (
	Unknown Goal = iota // the servers did not mention it: leave it alone
	Run
	Stop
)

// Seen is what the runtime shows of a task's container.
type Seen uint8

// What can be seen.
const (
	Absent Seen = iota
	Created
	Running
	Stopped
)

// Op is what to do.
type Op uint8

// The steps.
const (
	Nothing   Op = iota // until Step.Wake, or something changes
	Fetch               // get the image unpacked
	Create              // set the container up
	Start               // execute its program
	Term                // send the polite signal, and note when
	Kill                // send SIGKILL to all, and note when
	Remove              // delete the container
	SetStatus           // the task is now in Step.State for Step.Reason: keep and report it
	Forget              // drop all that is known of the task
	Resize              // give the running container the limits that are wanted
)

var opNames = [...]string{"nothing", "fetch", "create", "start", "term", "kill", "remove", "set-status", "forget", "resize"}

// String returns the name of the step.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "unknown"
}

// DefaultGrace is the time between the polite and the final signal when neither
// assignment nor template gives one.
const DefaultGrace = 5 * sdk.Second

// KillAgain is how long after SIGKILL a container that still runs gets another.
const KillAgain = 2 * sdk.Second

// Task is all that the planner looks at.
type Task struct {
	Goal  Goal
	State sdk.TaskState // last kept and reported; Staging at first
	// Reason is that of State. In Killing it says why, which decides how the
	// task is said to have ended.
	Reason sdk.Reason
	// StopReason is why Goal is Stop.
	StopReason sdk.Reason

	Seen Seen
	// Exit is how the container ended; read when Seen is Stopped.
	Exit Exit
	// InFlight is the slow step that is being carried out; Nothing when none.
	InFlight Op
	// Fault is why a step cannot succeed however often it is tried; ReasonNone
	// when there is none.
	Fault sdk.Reason

	ImageReady bool // the image is unpacked on this node
	Launched   bool // Start was tried, so an absent container is a lost one
	Unhealthy  bool // a check failed as often as it may
	Resize     bool // the limits in force are not those that are wanted
	Saved      bool // State is on disk: what it was derived from may go
	Forget     bool // the servers have committed its end, whatever it does here

	Grace  sdk.Duration // 0: DefaultGrace; negative: none
	Termed sdk.Time     // when the polite signal was sent; 0: not yet
	Killed sdk.Time     // when SIGKILL was last sent; 0: not yet
	// ResizeAt holds Resize back after it failed, and nothing else.
	ResizeAt sdk.Time
}

// Exit is what the planner must know of an exit.
type Exit struct {
	Code  int32
	Known bool
	OOM   bool
	Pids  bool // was refused a process
	Disk  bool // was refused room for its files, or ended for them
	// Sidecar: it is the exit of a sidecar that failed, and so ended the task.
	Sidecar bool
}

// Step is what to do next.
type Step struct {
	Op     Op
	State  sdk.TaskState // with SetStatus
	Reason sdk.Reason    // with SetStatus
	Wake   sdk.Time      // with Nothing: ask again then; 0: only when something changes
}

// Next returns the single next step for t.
func Next(t *Task, now sdk.Time) Step {
	switch {
	case t.State.Terminal():
		return ended(t, now)
	case t.InFlight != Nothing && t.InFlight != Fetch:
		// The runtime must not be called twice for one container.
		return Step{}
	case t.Fault != sdk.ReasonNone && t.Seen != Running:
		return faulted(t)
	}
	switch t.Seen {
	case Stopped:
		return exited(t)
	case Running:
		return running(t, now)
	}
	return notRunning(t)
}

// ended keeps the status until the servers have it, and clears up the rest.
func ended(t *Task, now sdk.Time) Step {
	switch {
	case t.InFlight != Nothing:
		return Step{}
	case t.Seen == Running:
		// Cannot be: a terminal state is set on a container that has stopped.
		// If the runtime shows it nevertheless, nobody wants it.
		if again := t.Killed.Add(KillAgain); t.Killed != 0 && now < again {
			return Step{Wake: again}
		}
		return Step{Op: Kill}
	case t.Seen != Absent && t.Saved:
		return Step{Op: Remove}
	case t.Forget && t.Seen == Absent:
		return Step{Op: Forget}
	}
	return Step{}
}

// faulted ends a task one of whose steps can never succeed.
func faulted(t *Task) Step {
	switch {
	case t.State == sdk.Killing:
		return Step{Op: SetStatus, State: afterKilling(t), Reason: t.Reason}
	case t.Fault == sdk.ReasonInvalidTemplate:
		return Step{Op: SetStatus, State: sdk.Error, Reason: t.Fault}
	}
	return Step{Op: SetStatus, State: sdk.Failed, Reason: t.Fault}
}

// goal is what is wanted, and why when that is Stop. A task that the servers
// gave up, with its node perhaps, is to end.
func (t *Task) goal() (Goal, sdk.Reason) {
	if t.Forget && t.Goal != Stop {
		return Stop, sdk.ReasonNodeLost
	}
	return t.Goal, t.StopReason
}

// notRunning moves a task that has no process towards its goal.
func notRunning(t *Task) Step {
	if t.State == sdk.Killing {
		if t.Seen == Created {
			return Step{Op: Remove}
		}
		return Step{Op: SetStatus, State: afterKilling(t), Reason: t.Reason}
	}
	if t.Seen == Absent && (t.Launched || t.State == sdk.Running) {
		return Step{Op: SetStatus, State: sdk.Failed, Reason: sdk.ReasonExitUnknown}
	}
	switch goal, reason := t.goal(); goal {
	case Unknown:
		return Step{}
	case Stop:
		// Removed first, reported then: what is said to be free is free.
		if t.Seen == Created {
			return Step{Op: Remove}
		}
		return Step{Op: SetStatus, State: sdk.Killed, Reason: reason}
	}
	switch {
	case t.State == sdk.Staging:
		return Step{Op: SetStatus, State: sdk.Starting}
	case t.Seen == Created:
		return Step{Op: Start}
	case t.InFlight == Fetch:
		return Step{}
	case !t.ImageReady:
		return Step{Op: Fetch}
	}
	return Step{Op: Create}
}

// running keeps a task running, or ends it politely, then firmly.
func running(t *Task, now sdk.Time) Step {
	if t.State < sdk.Running {
		return Step{Op: SetStatus, State: sdk.Running}
	}
	if t.State == sdk.Running {
		switch goal, reason := t.goal(); {
		case goal == Stop:
			return Step{Op: SetStatus, State: sdk.Killing, Reason: reason}
		case goal == Run && t.Unhealthy:
			return Step{Op: SetStatus, State: sdk.Killing, Reason: sdk.ReasonUnhealthy}
		case goal == Run && t.Resize && now < t.ResizeAt:
			return Step{Wake: t.ResizeAt}
		case goal == Run && t.Resize:
			return Step{Op: Resize}
		}
		return Step{}
	}
	if !t.Saved {
		// Else a crash between the signal and the write would make a task that
		// was stopped look like one that failed.
		return Step{}
	}
	grace := t.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	switch {
	case t.Killed != 0 && now < t.Killed.Add(KillAgain):
		return Step{Wake: t.Killed.Add(KillAgain)}
	case t.Killed != 0, grace < 0:
		return Step{Op: Kill}
	case t.Termed == 0:
		return Step{Op: Term}
	case now < t.Termed.Add(grace):
		return Step{Wake: t.Termed.Add(grace)}
	}
	return Step{Op: Kill}
}

// exited turns an exit into the task's final state.
func exited(t *Task) Step {
	s := Step{Op: SetStatus, State: sdk.Failed}
	switch {
	case t.State == sdk.Killing:
		s.State, s.Reason = afterKilling(t), t.Reason
	case t.Exit.Sidecar:
		s.Reason = sdk.ReasonSidecarFailed
	case !t.Exit.Known:
		s.Reason = sdk.ReasonExitUnknown
	case t.Exit.Code == 0:
		s.State, s.Reason = sdk.Finished, sdk.ReasonExited
	case t.Exit.OOM:
		s.Reason = sdk.ReasonOOM
	case t.Exit.Pids:
		s.Reason = sdk.ReasonPidsLimit
	case t.Exit.Disk:
		s.Reason = sdk.ReasonDiskLimit
	case t.Exit.Code > 128:
		s.Reason = sdk.ReasonSignaled
	default:
		s.Reason = sdk.ReasonExited
	}
	return s
}

// afterKilling is the final state of a task in Killing: killed when somebody
// asked, failed when its own ill health was the cause.
func afterKilling(t *Task) sdk.TaskState {
	if t.Reason == sdk.ReasonUnhealthy {
		return sdk.Failed
	}
	return sdk.Killed
}
