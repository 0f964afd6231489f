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
}

// LogChunk is part of an answer to a LogRequest.
type LogChunk struct {
	Call  uint64    `msg:"c"`
	Lines []LogLine `msg:"l"`
	Error string    `msg:"e,omitempty"`
	EOF   bool      `msg:"f"`
}

// LogLine is one line of a task's output, without its line end.
type LogLine struct {
	Time   Time   `json:"time" msg:"t"` // when it was read from the task
	Stream string `json:"stream" msg:"s"`
	Text   []byte `json:"text" msg:"x"`
	// Partial: the line goes on in the next one (it was longer than one record).
	Partial bool `json:"partial,omitempty" msg:"p,omitempty"`
}
