package sdk

// Kinds of document that the kernel itself understands. All other kinds belong
// to the plugin whose manifest claims them.
const (
	KindRole = "role" // body: doc.Role
	KindNode = "node" // body: doc.Node
)

// Document is something declared: its body as canonical JSON is the truth, the
// source text is kept for people.
type Document struct {
	Ref  Ref      `json:"ref" msg:"f"`
	Role RolePath `json:"role,omitempty" msg:"r,omitempty"`
	// Body is canonical JSON: defaults not filled in, keys sorted, checked
	// against the schema.
	Body RawJSON `json:"body" msg:"b"`
	// Source is the CUE text it came from, for people only.
	Source string `json:"source,omitempty" msg:"s,omitempty"`
	// Digest is of Body.
	Digest Digest `json:"digest" msg:"d"`
	// Revision is the log index that last changed it; conditional writes name
	// it.
	Revision uint64 `json:"revision" msg:"v"`
	// Version counts changes of Body, from 1.
	Version uint64 `json:"version" msg:"n"`
	// Stopped documents keep their declaration but run nothing.
	Stopped bool   `json:"stopped,omitempty" msg:"o,omitempty"`
	Created Time   `json:"created" msg:"c"`
	Changed Time   `json:"changed" msg:"h"`
	By      string `json:"by" msg:"y"` // who changed it last
	// Status is what the owning plugin reports; empty for the kernel's kinds.
	Status DocumentStatus `json:"status" msg:"t"`
}

// Phase sums up how far a document is.
type Phase string

// The phases.
const (
	PhasePending   Phase = "pending"   // nothing runs yet
	PhaseDeploying Phase = "deploying" // on the way to what is declared
	PhaseReady     Phase = "ready"     // as declared
	PhaseDegraded  Phase = "degraded"  // was as declared, is not now
	PhaseFailed    Phase = "failed"    // will not get there by itself
	PhaseStopped   Phase = "stopped"
	PhaseDone      Phase = "done" // a job that has nothing more to run
)

// DocumentStatus is what the owning plugin says about its document.
type DocumentStatus struct {
	Phase   Phase  `json:"phase,omitempty" msg:"p,omitempty"`
	Message string `json:"message,omitempty" msg:"m,omitempty"`
	Version uint64 `json:"version,omitempty" msg:"v,omitempty"` // of the document this speaks of
	Wanted  int64  `json:"wanted" msg:"w"`                      // instances declared
	Running int64  `json:"running" msg:"r"`
	Healthy int64  `json:"healthy" msg:"h"`
	Next    Time   `json:"next,omitempty" msg:"n,omitempty"` // next scheduled run
}

// RawJSON is JSON text kept as it is.
type RawJSON []byte

// MarshalJSON writes the text itself.
func (r RawJSON) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps a copy of the text.
func (r *RawJSON) UnmarshalJSON(b []byte) error {
	*r = append((*r)[:0], b...)
	return nil
}
