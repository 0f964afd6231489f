package core

import (
	"github.com/drupe-os/drupe/sdk"
)

//go:generate go run github.com/tinylib/msgp@v1.6.5 -file command.go -io=false -tests=false
//go:generate go run github.com/tinylib/msgp@v1.6.5 -file snapshot.go -io=false -tests=false

//msgp:tuple Run DemandName

// Entry is one record of the replicated log: what was decided, when, by whom.
// Everything that applying it needs is in it or in the state.
type Entry struct {
	// Time is the leader's clock when it proposed the entry. The state's clock
	// never runs backwards, whatever entries say.
	Time     sdk.Time  `msg:"t"`
	By       string    `msg:"b,omitempty"`
	Commands []Command `msg:"c"`
}

// Command is one change. Each is applied whole or not at all. Exactly one
// pointer is set.
type Command struct {
	Apply     *ApplyDocuments  `msg:"a,omitempty"`
	Remove    *RemoveDocument  `msg:"r,omitempty"`
	Stop      *StopDocument    `msg:"o,omitempty"`
	Kill      *KillTask        `msg:"k,omitempty"`
	Connect   *ConnectNode     `msg:"c,omitempty"`
	Liveness  *SetLiveness     `msg:"l,omitempty"`
	Machine   *SetMachine      `msg:"m,omitempty"`
	Report    *ReportStatuses  `msg:"s,omitempty"`
	Install   *InstallPlugin   `msg:"i,omitempty"`
	Reject    *RejectPlugin    `msg:"j,omitempty"`
	UsePolicy *UsePolicy       `msg:"u,omitempty"`
	Framework *FrameworkCommit `msg:"f,omitempty"`
	Place     *Placement       `msg:"p,omitempty"`
}

// ApplyDocuments declares documents: all of them, or with a fault none.
type ApplyDocuments struct {
	Documents []Declared `msg:"d"`
}

// Declared is one document on its way in. Bodies of the kernel's own kinds come
// decoded as well, so that applying needs no parser.
type Declared struct {
	Ref    sdk.Ref       `msg:"f"`
	Role   sdk.RolePath  `msg:"r,omitempty"`
	Body   sdk.RawJSON   `msg:"b"`
	Source string        `msg:"s,omitempty"`
	Digest sdk.Digest    `msg:"d"`
	IsRole *sdk.Role     `msg:"o,omitempty"`
	IsNode *NodeSettings `msg:"n,omitempty"`
	// IfRevision, when set, is the latest revision the document may have; 0
	// means that it must not exist.
	IfRevision *uint64 `msg:"i,omitempty"`
}

// NodeSettings is what operators declare about a node.
type NodeSettings struct {
	Attributes   []sdk.Attribute   `msg:"a"`
	Reservations []sdk.Reservation `msg:"r"`
	Cordoned     bool              `msg:"c"`
}

// RemoveDocument takes a declaration back.
type RemoveDocument struct {
	Ref sdk.Ref `msg:"f"`
}

// StopDocument keeps a declaration and stops what it runs.
type StopDocument struct {
	Ref sdk.Ref `msg:"f"`
}

// KillTask ends a task on a person's wish.
type KillTask struct {
	Task  sdk.TaskID   `msg:"t"`
	Grace sdk.Duration `msg:"g,omitempty"`
}

// ConnectNode begins an agent's session: registers the machine, or finds it
// again.
type ConnectNode struct {
	Node    sdk.NodeID       `msg:"n"`
	Name    string           `msg:"a"`
	Machine sdk.Machine      `msg:"m"`
	Tasks   []sdk.TaskStatus `msg:"t"` // all the agent knows
}

// SetLiveness commits a transition of a node's contact.
type SetLiveness struct {
	Node     sdk.NodeID   `msg:"n"`
	Liveness sdk.Liveness `msg:"l"`
}

// SetMachine replaces what is known of a machine.
type SetMachine struct {
	Node    sdk.NodeID  `msg:"n"`
	Machine sdk.Machine `msg:"m"`
}

// ReportStatuses is what a node says about its tasks.
type ReportStatuses struct {
	Node     sdk.NodeID       `msg:"n"`
	Statuses []sdk.TaskStatus `msg:"t"`
}

// InstallPlugin makes a plugin known, or a new version of it.
type InstallPlugin struct {
	Plugin sdk.Plugin `msg:"p"`
}

// RejectPlugin records that a plugin's call was refused.
type RejectPlugin struct {
	Plugin     sdk.PluginName `msg:"p"`
	Generation uint64         `msg:"g"`
	Reason     sdk.Reason     `msg:"r"`
	Message    string         `msg:"m"`
	Quarantine bool           `msg:"q,omitempty"`
}

// UsePolicy puts a policy to work; Undo puts the previous one back.
type UsePolicy struct {
	Name sdk.PluginName `msg:"n,omitempty"`
	Undo bool           `msg:"u,omitempty"`
}

// FrameworkCommit is one call of a framework, whole: the events it consumed and
// all it wants done.
type FrameworkCommit struct {
	Plugin     sdk.PluginName `msg:"p"`
	Generation uint64         `msg:"g"`
	Consumed   uint64         `msg:"c"` // events up to this Seq are done with
	// Seen is the Seq up to which the framework knows what was launched: from
	// events, or from the World a fresh instance was given.
	Seen    uint64       `msg:"s"`
	Actions []sdk.Action `msg:"a"`
	// Part counts the parts of an answer too large for one entry, from 0. More
	// says that others follow: its actions are then kept until the last part
	// comes, and done together.
	Part uint32 `msg:"n,omitempty"`
	More bool   `msg:"m,omitempty"`
}

// Placement is the outcome of one round of the policy: runs of launches, and
// offers. It is checked decision by decision; what does not hold is left out
// and counted.
type Placement struct {
	Policy     sdk.PluginName `msg:"p"`
	Generation uint64         `msg:"g"`
	Demands    []DemandName   `msg:"d"`
	Runs       []Run          `msg:"r"`
	Offers     []MakeOffer    `msg:"o,omitempty"`
	Waiting    []WaitReason   `msg:"w,omitempty"`
	Refused    uint32         `msg:"x,omitempty"` // of the policy's wishes, within the round
}

// DemandName names a demand: its framework and its name there.
type DemandName struct {
	Plugin sdk.PluginName
	Name   string
}

// Run launches Count instances of a demand on a node.
type Run struct {
	Demand uint32 // row in Placement.Demands
	Node   uint32 // the node's row
	Count  uint32
}

// MakeOffer offers an amount of a node to an elastic demand.
type MakeOffer struct {
	Demand uint32        `msg:"d"` // row in Placement.Demands
	Node   uint32        `msg:"n"`
	Amount sdk.Resources `msg:"a"`
	Ports  uint32        `msg:"p"`
}

// WaitReason is why the policy left a demand unplaced.
type WaitReason struct {
	Demand uint32     `msg:"d"` // row in Placement.Demands
	Reason sdk.Reason `msg:"r"`
}
