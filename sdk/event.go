package sdk

// Event is something committed, told to everybody who watches. Its place in the
// stream is (Index, Part).
type Event struct {
	Index uint64    `json:"index"` // log index
	Part  uint32    `json:"part"`  // within the index
	Time  Time      `json:"time"`
	Kind  EventKind `json:"kind"`
	By    string    `json:"by,omitempty"` // who, for changes people made

	Document *DocumentChange `json:"document,omitempty"`
	Task     *Task           `json:"task,omitempty"`
	Node     *Node           `json:"node,omitempty"`
	Role     *Role           `json:"role,omitempty"`
	Plugin   *Plugin         `json:"plugin,omitempty"`
	Offer    *Offer          `json:"offer,omitempty"`
	Policy   *PolicyChange   `json:"policy,omitempty"`
	Message  string          `json:"message,omitempty"`
}

// About returns the document that the event concerns, the zero Ref if none.
func (e *Event) About() Ref {
	switch {
	case e.Document != nil:
		return e.Document.Ref
	case e.Task != nil:
		return e.Task.Ref
	case e.Role != nil:
		return Ref{Kind: KindRole, Name: string(e.Role.Path)}
	case e.Node != nil:
		return Ref{Kind: KindNode, Name: e.Node.Name}
	}
	return Ref{}
}

// EventKind names what happened.
type EventKind string

// The kinds of event.
const (
	EventDocumentApplied EventKind = "document.applied"
	EventDocumentRemoved EventKind = "document.removed"
	EventDocumentStatus  EventKind = "document.status"
	EventTaskLaunched    EventKind = "task.launched"
	EventTaskUpdated     EventKind = "task.updated"
	EventTaskForgotten   EventKind = "task.forgotten"
	EventNodeRegistered  EventKind = "node.registered"
	EventNodeChanged     EventKind = "node.changed"
	EventRoleChanged     EventKind = "role.changed"
	EventRoleRemoved     EventKind = "role.removed"
	EventPluginInstalled EventKind = "plugin.installed"
	EventPluginChanged   EventKind = "plugin.changed"
	EventPluginRejected  EventKind = "plugin.rejected"
	EventPolicyChanged   EventKind = "policy.changed"
	EventOfferMade       EventKind = "offer.made"
	EventOfferEnded      EventKind = "offer.ended"
)

// DocumentChange tells of a document without its text.
type DocumentChange struct {
	Ref      Ref            `json:"ref"`
	Role     RolePath       `json:"role,omitempty"`
	Revision uint64         `json:"revision"`
	Version  uint64         `json:"version"`
	Stopped  bool           `json:"stopped,omitempty"`
	Status   DocumentStatus `json:"status"`
}

// PolicyChange tells of a policy swap.
type PolicyChange struct {
	Active   PluginName `json:"active"`
	Previous PluginName `json:"previous,omitempty"`
}
