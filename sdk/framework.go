package sdk

// World is what a framework is told when it starts: everything committed that
// is its own. It is all a fresh instance needs, so a crash costs it nothing.
type World struct {
	Plugin    PluginName `json:"plugin" msg:"p"`
	Now       Time       `json:"now" msg:"t"`
	Documents []Document `json:"documents" msg:"d"` // of its kinds
	Demands   []Demand   `json:"demands" msg:"e"`   // as they stand; templates included
	Tasks     []Task     `json:"tasks" msg:"a"`     // live ones, and ended ones not yet forgotten
	Offers    []Offer    `json:"offers" msg:"o"`    // it holds
	Store     []KeyValue `json:"store" msg:"k"`     // its own keys
	Timers    []Timer    `json:"timers" msg:"i"`
	// Seq is that of the last event whose outcome the World shows. Events up to
	// it may still come, and may be skipped by a framework that goes by state.
	Seq uint64 `json:"seq" msg:"q"`
}

// KeyValue is one entry of a plugin's own store.
type KeyValue struct {
	Key   string `json:"key" msg:"k"`
	Value []byte `json:"value" msg:"v"`
}

// Timer asks to be woken.
type Timer struct {
	Name string `json:"name" msg:"n"`
	At   Time   `json:"at" msg:"a"`
}

// FrameworkEvent is one thing that happened, told to the framework it concerns,
// exactly once and in order. Exactly one pointer is set.
//
// An event may speak of something the World already showed: the World is the
// state now, events are how it came about.
type FrameworkEvent struct {
	Seq uint64 `json:"seq" msg:"s"` // rises by one within a framework
	At  Time   `json:"at" msg:"t"`

	Applied   *Document   `json:"applied,omitempty" msg:"a,omitempty"`   // new or changed, also stopped
	Removed   *Ref        `json:"removed,omitempty" msg:"r,omitempty"`   // document removed
	Launched  *Task       `json:"launched,omitempty" msg:"l,omitempty"`  // a demand or offer became a task
	Updated   *Task       `json:"updated,omitempty" msg:"u,omitempty"`   // status, health or reachability changed
	Offered   *Offer      `json:"offered,omitempty" msg:"o,omitempty"`   //
	Rescinded *OfferID    `json:"rescinded,omitempty" msg:"d,omitempty"` // an offer was taken back or expired
	Fired     *Timer      `json:"fired,omitempty" msg:"f,omitempty"`
	Refused   *RefusedAct `json:"refused,omitempty" msg:"x,omitempty"` // an earlier batch of actions was refused
}

// RefusedAct tells a framework that a batch of its actions was refused whole.
type RefusedAct struct {
	Reason  Reason `json:"reason" msg:"r"`
	Message string `json:"message" msg:"m"`
}

// Action is one thing a framework wants done. All actions of one call are
// committed together, or none. Exactly one pointer is set.
type Action struct {
	Demand   *Demand         `json:"demand,omitempty" msg:"d,omitempty"`   // set, by name
	Drop     *DropDemand     `json:"drop,omitempty" msg:"r,omitempty"`     // withdraw
	Kill     *KillTask       `json:"kill,omitempty" msg:"k,omitempty"`     //
	Resize   *ResizeTask     `json:"resize,omitempty" msg:"z,omitempty"`   // change what a running task has
	Forget   *ForgetTask     `json:"forget,omitempty" msg:"f,omitempty"`   // an ended task, for good
	Accept   *AcceptOffer    `json:"accept,omitempty" msg:"a,omitempty"`   //
	Decline  *DeclineOffer   `json:"decline,omitempty" msg:"e,omitempty"`  //
	Suppress *SuppressDemand `json:"suppress,omitempty" msg:"s,omitempty"` // no offers for a demand
	Revive   *ReviveDemand   `json:"revive,omitempty" msg:"v,omitempty"`   // offers again, filters forgotten
	Timer    *Timer          `json:"timer,omitempty" msg:"t,omitempty"`    // set, by name; At 0 removes
	Put      *KeyValue       `json:"put,omitempty" msg:"p,omitempty"`      // nil Value removes
	Status   *SetStatus      `json:"status,omitempty" msg:"u,omitempty"`   // of a document of its kinds
}

// DropDemand withdraws a demand. Its tasks stay.
type DropDemand struct {
	Name string `json:"name" msg:"n"`
}

// KillTask asks for a task's end. Grace 0 means the template's.
type KillTask struct {
	Task   TaskID   `json:"task" msg:"t"`
	Reason Reason   `json:"reason" msg:"r"`
	Grace  Duration `json:"grace,omitempty" msg:"g,omitempty"`
}

// ResizeTask changes what a live task is charged for and bounded by, without
// restarting it. Devices and ports cannot be changed. When its node or its role
// has no room the task stays as it is and carries the refusal; the other actions
// of the call are done all the same.
type ResizeTask struct {
	Task      TaskID    `json:"task" msg:"t"`
	Resources Resources `json:"resources" msg:"q"`
	Limits    Limits    `json:"limits" msg:"l"`
	// Tag is the task's mark from then on; "" leaves it.
	Tag string `json:"tag,omitempty" msg:"g,omitempty"`
}

// ForgetTask lets the kernel drop the record of an ended task.
type ForgetTask struct {
	Task TaskID `json:"task" msg:"t"`
}

// AcceptOffer launches tasks on an offer; what they leave is declined without a
// filter.
type AcceptOffer struct {
	Offer    OfferID  `json:"offer" msg:"o"`
	Launches []Launch `json:"launches" msg:"l"`
}

// DeclineOffer gives an offer back. For the time of Filter, nothing that is
// contained in what was declined is offered again for that demand on that node.
type DeclineOffer struct {
	Offer  OfferID  `json:"offer" msg:"o"`
	Filter Duration `json:"filter" msg:"f"`
}

// SuppressDemand stops offers for a demand without forgetting it.
type SuppressDemand struct {
	Name string `json:"name" msg:"n"`
}

// ReviveDemand undoes SuppressDemand and forgets the demand's filters.
type ReviveDemand struct {
	Name string `json:"name" msg:"n"`
}

// SetStatus reports on a document.
type SetStatus struct {
	Ref    Ref            `json:"ref" msg:"f"`
	Status DocumentStatus `json:"status" msg:"s"`
}

// FrameworkStart is the argument of a framework's start call.
type FrameworkStart struct {
	World World `msg:"w"`
}

// FrameworkCall is the argument of a framework's call: events since the last
// one.
type FrameworkCall struct {
	Now    Time             `msg:"n"`
	Events []FrameworkEvent `msg:"e"`
}

// FrameworkAnswer is a framework's answer to either.
type FrameworkAnswer struct {
	Actions []Action `msg:"a"`
	Logs    []string `msg:"l"` // lines for the server's log
}
