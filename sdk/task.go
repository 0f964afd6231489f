package sdk

// TaskState is where a task is in its life. A task is one run: it only moves
// forward, and a terminal state is final. The names are Mesos's.
type TaskState uint8

// The states, in the order a task may pass them. Those from Finished on are
// terminal.
const (
	Staging  TaskState = iota // placed; its node has not begun
	Starting                  // the node is fetching and creating
	Running
	Killing  // asked to end
	Finished // ended by itself with success
	Failed   // ended by itself without success, or could not be started
	Killed   // ended because it was asked to
	Error    // can never run: its template is wrong
	Dropped  // never started, and never will be
	Gone     // its node is gone
)

var taskStateNames = []string{"staging", "starting", "running", "killing",
	"finished", "failed", "killed", "error", "dropped", "gone"}

// Terminal reports whether the state is final.
func (s TaskState) Terminal() bool { return s >= Finished }

// String returns the name in lower case.
func (s TaskState) String() string { return nameOf(taskStateNames, int(s)) }

// MarshalText writes the name.
func (s TaskState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *TaskState) UnmarshalText(b []byte) error {
	i, err := indexOf(taskStateNames, string(b))
	*s = TaskState(i)
	return err
}

// Goal is what the servers want of a task. They alone write it.
type Goal uint8

// The goals.
const (
	GoalRun Goal = iota
	GoalStop
)

var goalNames = []string{"run", "stop"}

// String returns "run" or "stop".
func (g Goal) String() string { return nameOf(goalNames, int(g)) }

// MarshalText writes the name.
func (g Goal) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads the name.
func (g *Goal) UnmarshalText(b []byte) error {
	i, err := indexOf(goalNames, string(b))
	*g = Goal(i)
	return err
}

// Health is what the checks of a task say.
type Health uint8

// The states of health. A task without checks is Healthy as soon as it runs.
const (
	HealthUnknown Health = iota
	Healthy
	Unhealthy
	Unready // a readiness check fails: it is left to run but not to be relied on
)

var healthNames = []string{"unknown", "healthy", "unhealthy", "unready"}

// String returns the name.
func (h Health) String() string { return nameOf(healthNames, int(h)) }

// MarshalText writes the name.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads the name.
func (h *Health) UnmarshalText(b []byte) error {
	i, err := indexOf(healthNames, string(b))
	*h = Health(i)
	return err
}

// TaskStatus is what a node says about one of its tasks. The node alone writes
// it.
type TaskStatus struct {
	Task     TaskID    `json:"task" msg:"i"`
	State    TaskState `json:"state" msg:"s"`
	Reason   Reason    `json:"reason,omitempty" msg:"r,omitempty"`
	Message  string    `json:"message,omitempty" msg:"m,omitempty"`
	ExitCode int32     `json:"exit_code" msg:"x"` // of the task's first process; 128+n for signal n; meaningful in terminal states
	Health   Health    `json:"health" msg:"h"`
	Started  Time      `json:"started,omitempty" msg:"b,omitempty"`
	Ended    Time      `json:"ended,omitempty" msg:"e,omitempty"`
	PID      int32     `json:"pid,omitempty" msg:"p,omitempty"` // on the host, while running
}

// Task is one run of one instance, as the servers know it.
type Task struct {
	ID        TaskID        `json:"id" msg:"i"`
	Ref       Ref           `json:"ref" msg:"f"` // the document it serves
	Plugin    PluginName    `json:"plugin" msg:"g"`
	Demand    string        `json:"demand" msg:"d"`
	Tag       string        `json:"tag,omitempty" msg:"u,omitempty"`
	Role      RolePath      `json:"role" msg:"r"`
	Node      NodeID        `json:"node" msg:"n"`
	Resources Resources     `json:"resources" msg:"q"`
	Ports     []PortBinding `json:"ports,omitempty" msg:"p,omitempty"`
	// Devices are the identified devices it holds of its Resources.
	Devices []DeviceBinding `json:"devices,omitempty" msg:"v,omitempty"`
	Created Time            `json:"created" msg:"c"`

	Goal       Goal   `json:"goal" msg:"o"`
	GoalReason Reason `json:"goal_reason,omitempty" msg:"w,omitempty"` // why GoalStop
	// GoalMessage says more of it, for people.
	GoalMessage string     `json:"goal_message,omitempty" msg:"y,omitempty"`
	Status      TaskStatus `json:"status" msg:"s"`
	// Refused is its last resize, when that was refused.
	Refused *RefusedResize `json:"refused_resize,omitempty" msg:"z,omitempty"`
	// Unreachable: the node is, so Status is the last that was heard.
	Unreachable bool `json:"unreachable,omitempty" msg:"l,omitempty"`
}

// RefusedResize is why a task could not be resized.
type RefusedResize struct {
	Tag     string `json:"tag,omitempty" msg:"g,omitempty"` // of the wish
	Reason  Reason `json:"reason" msg:"r"`
	Message string `json:"message" msg:"m"`
}
