package sdk

//msgp:tuple Attribute

// Attribute is one fact about a node that placement may ask for, such as
// rack=r1. Values are text.
type Attribute struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Device is one identified piece of hardware, such as a GPU, or a part of one.
type Device struct {
	ID      string `json:"id" msg:"i"`                         // UUID
	Kind    string `json:"kind" msg:"k"`                       // "gpu", "mig"
	Model   string `json:"model,omitempty" msg:"m,omitempty"`  // "NVIDIA A100-SXM4-40GB"
	Mem     int64  `json:"mem,omitempty" msg:"b,omitempty"`    // bytes
	Group   string `json:"group,omitempty" msg:"g,omitempty"`  // topology: devices of one group are linked
	Healthy bool   `json:"healthy" msg:"h"`                    // as the node sees it
	Detail  string `json:"detail,omitempty" msg:"d,omitempty"` // why not healthy
	// Resource is the scalar resource this is 1 of: "gpus" for whole devices,
	// "gpus-shared" for one that many tasks use in parts, "mig-1g-10gb" for a
	// partition of that profile. Tasks that ask for the resource are given
	// devices of it.
	Resource string `json:"resource,omitempty" msg:"r,omitempty"`
	// Shared: tasks may have less than the whole of it.
	Shared bool `json:"shared,omitempty" msg:"s,omitempty"`
	// Parent is the ID of the device this is a partition of.
	Parent string `json:"parent,omitempty" msg:"p,omitempty"`
	// NUMA is the node of the machine it is next to; -1: not known.
	NUMA int32 `json:"numa" msg:"n"`
	// Bus is its PCI address.
	Bus string `json:"bus,omitempty" msg:"u,omitempty"`
}

// DeviceBinding is a device, or part of a shared one, that a task holds.
type DeviceBinding struct {
	ID       string `json:"id" msg:"i"`
	Resource string `json:"resource" msg:"r"`
	// Share is the part of it in thousandths; 1000 is the whole.
	Share Milli `json:"share" msg:"s"`
}

// Machine is what an agent found its machine to be. It comes with every
// registration and replaces what was known before.
type Machine struct {
	Capacity   Resources   `json:"capacity" msg:"c"`
	Ports      []Range     `json:"ports" msg:"p"` // host ports tasks may have
	Devices    []Device    `json:"devices,omitempty" msg:"d,omitempty"`
	Attributes []Attribute `json:"attributes,omitempty" msg:"a,omitempty"` // found, such as os=linux
	Hostname   string      `json:"hostname" msg:"h"`
	Address    string      `json:"address" msg:"i"` // where tasks' ports are reached
	Version    string      `json:"version" msg:"v"` // of the agent
}

// Liveness is what is known of a node's contact with the servers. Only
// transitions between these are committed.
type Liveness uint8

// The states of liveness.
const (
	NodeUp          Liveness = iota // has a session
	NodeUnreachable                 // lost its session; its tasks may still run
	NodeGone                        // declared gone by an operator: its tasks are over
)

var livenessNames = []string{"up", "unreachable", "gone"}

// String returns "up", "unreachable" or "gone".
func (l Liveness) String() string { return nameOf(livenessNames, int(l)) }

// MarshalText writes the name.
func (l Liveness) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads the name.
func (l *Liveness) UnmarshalText(b []byte) error {
	i, err := indexOf(livenessNames, string(b))
	*l = Liveness(i)
	return err
}

// Node is a machine as the servers know it.
type Node struct {
	ID           NodeID        `json:"id" msg:"i"`
	Name         string        `json:"name" msg:"n"` // unique, chosen by the operator
	Machine      Machine       `json:"machine" msg:"m"`
	Attributes   []Attribute   `json:"attributes,omitempty" msg:"a,omitempty"` // set by operators; win over found ones
	Reservations []Reservation `json:"reservations,omitempty" msg:"r,omitempty"`
	Liveness     Liveness      `json:"liveness" msg:"l"`
	Since        Time          `json:"since" msg:"s"`                        // of Liveness
	Registered   Time          `json:"registered" msg:"t"`                   // first
	Cordoned     bool          `json:"cordoned,omitempty" msg:"o,omitempty"` // takes no new tasks
}

// Reservation sets part of a node aside for a role and its subtree.
type Reservation struct {
	Role      RolePath  `json:"role" msg:"r"`
	Resources Resources `json:"resources" msg:"q"`
}

// Attribute returns the value of an attribute: the operator's before the
// machine's own, and the built-in "hostname" and "node".
func (n *Node) Attribute(name string) (string, bool) {
	for _, list := range [2][]Attribute{n.Attributes, n.Machine.Attributes} {
		for _, a := range list {
			if a.Name == name {
				return a.Value, true
			}
		}
	}
	switch name {
	case "node":
		return n.Name, true
	case "hostname":
		return n.Machine.Hostname, true
	}
	return "", false
}
