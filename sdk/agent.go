package sdk

// Hello opens an agent's session: who it is, what it has, what it runs. The
// agent's identity itself comes from its certificate.
type Hello struct {
	Protocol uint32       `msg:"v"` // AgentProtocol
	Name     string       `msg:"n"` // wanted node name
	Machine  Machine      `msg:"m"`
	Tasks    []TaskStatus `msg:"t"` // all it knows, ended ones not yet acknowledged included
}

// AgentProtocol is the version of the agent stream.
const AgentProtocol = 1

// Assignment is one task as its node must know it.
type Assignment struct {
	Task     TaskID        `msg:"i"`
	Ref      Ref           `msg:"f"`
	Role     RolePath      `msg:"r"`
	Goal     Goal          `msg:"g"`
	Grace    Duration      `msg:"k,omitempty"` // with GoalStop; 0: the template's
	Reason   Reason        `msg:"w,omitempty"` // with GoalStop
	Template *Template     `msg:"t,omitempty"` // absent in a change of goal only
	Ports    []PortBinding `msg:"p,omitempty"`
	// Devices come with a Template, as Ports do.
	Devices []DeviceBinding `msg:"d,omitempty"`
}

// Desired is what a node should run. Full replaces all the node knew to be
// wanted; otherwise only what is listed changed. A task that a full Desired
// does not mention is unknown to the servers: the agent reports it and leaves
// it alone.
type Desired struct {
	Revision uint64       `msg:"v"` // log index it speaks of
	Full     bool         `msg:"a"`
	Tasks    []Assignment `msg:"t"`
	// Forget are ended tasks whose status is committed: the node may drop them.
	Forget []TaskID `msg:"f"`
}

// Report is what a node says: changed statuses only.
type Report struct {
	Seq      uint64       `msg:"q"` // rises by one within a session
	Statuses []TaskStatus `msg:"t"`
}

// ReportAck says that all reports up to Seq are committed.
type ReportAck struct {
	Seq uint64 `msg:"q"`
}

// MachineUpdate replaces what is known of the machine during a session.
type MachineUpdate struct {
	Machine Machine `msg:"m"`
}

// LogRequest asks a node for a task's output.
type LogRequest struct {
	Call   uint64 `msg:"c"` // names the answers
	Task   TaskID `msg:"t"`
	Stream string `msg:"s"` // "stdout", "stderr" or "" for both
	Tail   int64  `msg:"n"` // lines from the end to start with; negative: from the beginning
	Follow bool   `msg:"f"`
	Cancel bool   `msg:"x"` // end the call of this number
	// Since and Until bound the lines by their times, Since included and Until
	// not; 0: unbounded.
	Since Time `msg:"b,omitempty"`
	Until Time `msg:"u,omitempty"`
	// Match is a regular expression (RE2) that lines must match; "": all. Tail
	// counts the lines that match.
	Match string `msg:"m,omitempty"`
	// Sidecar names whose output it is; "": the task's own program's.
	Sidecar string `msg:"k,omitempty"`
}

// Usage is a sample of what a running task uses.
type Usage struct {
	Task       TaskID   `json:"task" msg:"t"`
	At         Time     `json:"at" msg:"a"`
	CPU        Duration `json:"cpu" msg:"c"`                             // time used since its start
	Throttled  Duration `json:"throttled,omitempty" msg:"h,omitempty"`   // time it was held back by its quota
	Mem        int64    `json:"mem" msg:"m"`                             // bytes now, page cache of its files included
	MemPeak    int64    `json:"mem_peak,omitempty" msg:"k,omitempty"`    // bytes at most
	Swap       int64    `json:"swap,omitempty" msg:"w,omitempty"`        // bytes now
	Pids       int64    `json:"pids" msg:"p"`                            // processes and threads now
	Disk       int64    `json:"disk,omitempty" msg:"d,omitempty"`        // bytes written to its own files
	ReadBytes  int64    `json:"read_bytes,omitempty" msg:"r,omitempty"`  // from block devices, since its start
	WriteBytes int64    `json:"write_bytes,omitempty" msg:"b,omitempty"` // to block devices, since its start
}

// UsageReport carries the samples of a node's running tasks. It is not
// committed: the leader keeps the latest of each task in memory.
type UsageReport struct {
	Usages []Usage `msg:"u"`
}

// SessionRequest asks a node to open a session with a task (see sdk/session):
// the node dials the server, says SessionHello, and the two are joined.
type SessionRequest struct {
	Key  string `msg:"k"` // names the session; only the node asked knows it
	Task TaskID `msg:"t"`
	Open []byte `msg:"o"` // session.Request in JSON, for the node's runtime
}

// SessionHello is the first frame of a connection that carries a session.
type SessionHello struct {
	Key   string `msg:"k"`
	Error string `msg:"e,omitempty"` // the session could not be opened: a fault in JSON
}

// LogChunk is part of an answer to a LogRequest.
type LogChunk struct {
	Call  uint64    `msg:"c"`
	Lines []LogLine `msg:"l"`
	Error string    `msg:"e,omitempty"` // why it ends early: a fault in JSON, or words
	EOF   bool      `msg:"f"`
}

// LogLine is one line of a task's output, without its line end.
type LogLine struct {
	Time   Time   `json:"time" msg:"t"` // when it was read from the task
	Stream string `json:"stream" msg:"s"`
	Text   []byte `json:"text" msg:"x"`
	// Partial: the line goes on in the next one (it was longer than one record).
	Partial bool `json:"partial,omitempty" msg:"p,omitempty"`
	// Dropped: no line, but a mark that this many were lost here; Text says why.
	Dropped int64 `json:"dropped,omitempty" msg:"d,omitempty"`
}
