package sdk

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// This file holds what the HTTP API alone speaks of: views, which are nouns
// with what the servers know around them, and the bodies of requests. They
// travel as JSON only.

// IndexHeader is the header of list answers: the log index they show. Watching
// events after it misses nothing and repeats nothing.
const IndexHeader = "Drupe-Index"

// Position is a place in the event stream: after the event with this index and
// part. The zero Position is before everything.
type Position struct {
	Index uint64
	Part  uint32
}

// PositionOf returns the place right after e.
func PositionOf(e *Event) Position { return Position{e.Index, e.Part} }

// EndOf returns the place after all events of a log index.
func EndOf(index uint64) Position { return Position{index, math.MaxUint32} }

// Before reports whether p lies before q.
func (p Position) Before(q Position) bool {
	return p.Index < q.Index || p.Index == q.Index && p.Part < q.Part
}

// String returns "INDEX.PART", or "INDEX" for the end of an index.
func (p Position) String() string {
	if p.Part == math.MaxUint32 {
		return strconv.FormatUint(p.Index, 10)
	}
	return fmt.Sprintf("%d.%d", p.Index, p.Part)
}

// ParsePosition reads what String writes. Errors: Invalid.
func ParsePosition(s string) (Position, error) {
	index, part, dotted := strings.Cut(s, ".")
	p := Position{Part: math.MaxUint32}
	var err error
	if p.Index, err = strconv.ParseUint(index, 10, 64); err == nil && dotted {
		var v uint64
		v, err = strconv.ParseUint(part, 10, 32)
		p.Part = uint32(v)
	}
	if err != nil {
		return Position{}, Errorf(Invalid, "", "%q is no place in the event stream", s).
			ToFix("use a log index, such as 120, or an event's id, such as 120.3")
	}
	if p.Index == 0 && !dotted {
		return Position{}, nil
	}
	return p, nil
}

// ApplyRequest is the body of PUT /v1/documents.
type ApplyRequest struct {
	Documents []DocumentInput `json:"documents"`
	// IfRevision, when given, refuses the whole request with Conflict if any of
	// the documents changed after that log index. 0: none of them may exist.
	IfRevision *uint64 `json:"if_revision,omitempty"`
}

// DocumentInput is a document as a person hands it in.
type DocumentInput struct {
	Kind   string   `json:"kind"`
	Name   string   `json:"name"`
	Role   RolePath `json:"role,omitempty"` // absent: the body's own "role"
	Body   RawJSON  `json:"body"`
	Source string   `json:"source,omitempty"`
}

// Applied tells what became of one document of an ApplyRequest.
type Applied struct {
	Ref      Ref    `json:"ref"`
	Revision uint64 `json:"revision"`
	Version  uint64 `json:"version"`
	Changed  bool   `json:"changed"` // false: it was declared like that already
}

// ScaleRequest is the body of POST …/scale.
type ScaleRequest struct {
	Instances int64 `json:"instances"`
}

// KillRequest is the body of POST …/kill.
type KillRequest struct {
	Grace Duration `json:"grace,omitempty"` // 0: the template's
}

// PolicyUse is the body of POST /v1/policy/use.
type PolicyUse struct {
	Name PluginName `json:"name"`
}

// JoinRequest is the body of POST /v1/join, by which an agent becomes a node.
type JoinRequest struct {
	CSR   string `json:"csr"` // PEM, PKCS #10
	Token string `json:"token"`
}

// JoinAnswer makes an agent a node.
type JoinAnswer struct {
	Certificate string `json:"certificate"` // PEM
	CA          string `json:"ca"`          // PEM
	Node        NodeID `json:"node"`
	// AgentPort is where the servers take agents' streams, on the same hosts as
	// the API.
	AgentPort uint16 `json:"agent_port"`
}

// VersionView says what a server is.
type VersionView struct {
	Version  string `json:"version"`
	API      string `json:"api"` // "v1"
	Go       string `json:"go"`
	Platform string `json:"platform"` // "linux/amd64"
}

// ClusterView sums up the cluster.
type ClusterView struct {
	ID        string     `json:"id,omitempty"`
	Version   string     `json:"version"`
	Index     uint64     `json:"index"`
	Leader    string     `json:"leader"`  // name of the leading server
	Servers   []string   `json:"servers"` // names, sorted
	Nodes     NodeCounts `json:"nodes"`
	Documents int64      `json:"documents"`
	Tasks     int64      `json:"tasks"`   // not ended
	Waiting   int64      `json:"waiting"` // instances wanted and not placed
	Capacity  Resources  `json:"capacity"`
	Held      Resources  `json:"held"` // by tasks
	Offered   Resources  `json:"offered"`
	Free      Resources  `json:"free"`
	Policy    PluginName `json:"policy,omitempty"` // the active one
}

// NodeCounts counts nodes by liveness.
type NodeCounts struct {
	Up          int64 `json:"up"`
	Unreachable int64 `json:"unreachable"`
	Gone        int64 `json:"gone"`
}

// TaskView is a task with where it is reached.
type TaskView struct {
	Task
	NodeName string `json:"node_name"`
	Address  string `json:"address,omitempty"` // of the node: the host of the task's ports
	// Usage is what it uses, by its node's latest sample; nil: not known.
	Usage *UsageView `json:"usage,omitempty"`
}

// UsageView is what a task, or all tasks of a node together, use. Rates are over
// the time between the two latest samples, and 0 until there are two.
type UsageView struct {
	At        Time  `json:"at"`                  // of the sample; of a node the latest of its tasks'
	CPUs      Milli `json:"cpus"`                // cores in use
	Throttled Milli `json:"throttled,omitempty"` // held back by its quota: thousandths of the time, summed over its cores
	Mem       int64 `json:"mem"`                 // bytes, page cache of its files included
	MemPeak   int64 `json:"mem_peak,omitempty"`  // bytes at most; of a node not given
	Swap      int64 `json:"swap,omitempty"`      // bytes
	Pids      int64 `json:"pids"`                // processes and threads
	Disk      int64 `json:"disk,omitempty"`      // bytes written to its own files
	Read      int64 `json:"read,omitempty"`      // bytes a second from block devices
	Write     int64 `json:"write,omitempty"`     // bytes a second to block devices
}

// NodeView is a node with what is used of it.
type NodeView struct {
	Node
	Held    Resources `json:"held"` // by tasks
	Offered Resources `json:"offered"`
	Free    Resources `json:"free"`
	Tasks   int64     `json:"tasks"` // not ended
	// Usage is what its tasks use together; nil: not known.
	Usage *UsageView `json:"usage,omitempty"`
}

// RoleView is a role with what its subtree holds.
type RoleView struct {
	Role
	Held    Resources `json:"held"`
	Offered Resources `json:"offered"`
	// Dominant is the resource of which the subtree holds the largest part, and
	// Share that part, in thousandths of the cluster's capacity.
	Dominant string `json:"dominant,omitempty"`
	Share    int64  `json:"share"`
	// FairShare is what the weights owe it, in thousandths of the parent's.
	FairShare int64 `json:"fair_share"`
	Tasks     int64 `json:"tasks"`   // not ended
	Waiting   int64 `json:"waiting"` // instances wanted and not placed
}

// PluginView is a plugin with how it does.
type PluginView struct {
	Plugin
	Active bool   `json:"active"` // a framework that is called, or the policy in use
	Calls  uint64 `json:"calls"`  // since this server started
	// Latency of the calls kept in this server's memory, in microseconds.
	Latency Latency `json:"latency"`
}

// Latency describes how long calls took, in microseconds.
type Latency struct {
	P50 int64 `json:"p50_us"`
	P99 int64 `json:"p99_us"`
	Max int64 `json:"max_us"`
}

// PolicyView is which policy schedules.
type PolicyView struct {
	Active    PluginName   `json:"active"`
	Previous  PluginName   `json:"previous,omitempty"` // what undo goes back to
	Since     Time         `json:"since"`
	By        string       `json:"by"`
	Available []PluginName `json:"available"` // installed policies, sorted
}

// LogView is one line of the answer to GET …/logs. The last line may carry a
// fault instead, when the logs end before their end.
type LogView struct {
	Task   TaskID `json:"task"`
	Time   Time   `json:"time"`
	Stream string `json:"stream"`
	// Text is the line without its end. A line that is not UTF-8 is in Bytes.
	Text    string `json:"text"`
	Bytes   []byte `json:"bytes,omitempty"`
	Partial bool   `json:"partial,omitempty"` // the line goes on in the next
	// Dropped: no line, but a mark that this many were lost here; Text says why.
	Dropped int64  `json:"dropped,omitempty"`
	Fault   *Fault `json:"fault,omitempty"`
}

// Problem is how a fault answers an HTTP request: RFC 9457, type
// application/problem+json.
type Problem struct {
	Status  int       `json:"status"`
	Code    FaultKind `json:"code"`
	Title   string    `json:"title"`  // the kind in words
	Detail  string    `json:"detail"` // Fault.Message
	Why     string    `json:"why,omitempty"`
	Fix     string    `json:"fix,omitempty"`
	Field   string    `json:"field,omitempty"`
	Subject string    `json:"subject,omitempty"`
}

// Fault returns the fault that p carries.
func (p *Problem) Fault() *Fault {
	return &Fault{Kind: p.Code, Subject: p.Subject, Message: p.Detail, Why: p.Why, Fix: p.Fix, Field: p.Field}
}

// Collected is what a collection of the registry removed.
type Collected struct {
	Manifests int64 `json:"manifests"`
	Blobs     int64 `json:"blobs"`
	Bytes     int64 `json:"bytes"`
}
