package sdk

// Reason is why something is as it is, for machines. One list serves kernel,
// plugins, agents, command line and UI; numbers never change meaning, new ones
// are added at the end of their hundred.
type Reason uint16

// Why a demand is not placed, per node or as a whole. The code that refuses
// names the reason.
const (
	ReasonNone Reason = 0

	ReasonCPUs          Reason = 100 // too few free cpus
	ReasonMem           Reason = 101
	ReasonDisk          Reason = 102
	ReasonGPUs          Reason = 103
	ReasonCustom        Reason = 104 // too little of an operator's own resource
	ReasonPorts         Reason = 105 // too few free ports, or the wanted one is taken
	ReasonConstraint    Reason = 106 // a constraint does not hold
	ReasonReserved      Reason = 107 // what is free is reserved for other roles
	ReasonUnreachable   Reason = 108 // the node has no session
	ReasonCordoned      Reason = 109 // the node takes no new tasks
	ReasonQuotaLimit    Reason = 110 // a role on the path to the root is at its limit
	ReasonGuarantee     Reason = 111 // what is free is owed to other roles' guarantees
	ReasonFairShare     Reason = 112 // others are further below their share
	ReasonBackoff       Reason = 113 // held back after failures
	ReasonDeclined      Reason = 114 // the framework declined this before
	ReasonSuppressed    Reason = 115 // the framework asked for no offers
	ReasonNoPolicy      Reason = 116 // no scheduling policy is running
	ReasonOffered       Reason = 117 // on offer to somebody at the moment
	ReasonNoNodes       Reason = 118 // there is no node at all
	ReasonNotConsidered Reason = 119 // the policy has not come to it yet
	ReasonDevices       Reason = 120 // enough is free in sum, but not as devices that are well and whole
)

// Why a task is in its state.
const (
	ReasonExited           Reason = 200 // ended by itself; see the exit code
	ReasonSignaled         Reason = 201 // ended by a signal nobody here sent
	ReasonOOM              Reason = 202 // killed for reaching its memory limit
	ReasonKilledByUser     Reason = 203
	ReasonKilledByPlugin   Reason = 204 // by its framework: scaled down, replaced, stopped
	ReasonUnhealthy        Reason = 205 // its health check failed too often
	ReasonImageNotFound    Reason = 206
	ReasonImageDigest      Reason = 207 // content does not match its digest
	ReasonImageInvalid     Reason = 208 // truncated, malformed, or climbing out of its root
	ReasonImageUnavailable Reason = 209 // registry or folder cannot be read now
	ReasonCommandNotFound  Reason = 210
	ReasonCommandDenied    Reason = 211 // not executable, or not permitted
	ReasonPortTaken        Reason = 212 // the host port is used by somebody outside Drupe
	ReasonStartFailed      Reason = 213 // the isolator could not start it
	ReasonDiskFull         Reason = 214
	ReasonNodeLost         Reason = 215 // its node is unreachable or gone
	ReasonExitUnknown      Reason = 216 // it ended while nobody could see how
	ReasonInvalidTemplate  Reason = 217
	ReasonPidsLimit        Reason = 218 // reached its process limit
	ReasonCheckpointLost   Reason = 219 // the node's own record of it was lost
	ReasonDiskLimit        Reason = 220 // reached its disk limit
	ReasonDeviceLost       Reason = 221 // a device it held is gone or ill
	ReasonNotPermitted     Reason = 222 // asks for what the node's operator has not granted
	ReasonUnsupported      Reason = 223 // asks for what this node cannot do
	ReasonSidecarFailed    Reason = 224 // one of its sidecars failed
	ReasonImageUnsigned    Reason = 225 // the node's signature check refused the image
	ReasonVolume           Reason = 226 // a volume of it could not be made or mounted
)

// Why a plugin call or its answer was refused.
const (
	ReasonTrap           Reason = 300
	ReasonDeadline       Reason = 301
	ReasonMemory         Reason = 302
	ReasonAnswerTooLong  Reason = 303
	ReasonAnswerInvalid  Reason = 304
	ReasonNotOffered     Reason = 305 // used an offer it does not hold
	ReasonNotGranted     Reason = 306 // did what its manifest was not granted
	ReasonOverCapacity   Reason = 307 // would take more than the node has
	ReasonUnknownNode    Reason = 308
	ReasonUnknownDemand  Reason = 309
	ReasonStale          Reason = 310 // decided by an older generation
	ReasonNodeIneligible Reason = 311 // the node is outside the demand's constraints
	ReasonQuarantined    Reason = 312 // failed too often; waiting for an operator
)

var reasonNames = map[Reason]string{
	ReasonNone: "none",
	ReasonCPUs: "cpus", ReasonMem: "mem", ReasonDisk: "disk", ReasonGPUs: "gpus",
	ReasonCustom: "custom", ReasonPorts: "ports", ReasonConstraint: "constraint",
	ReasonReserved: "reserved", ReasonUnreachable: "unreachable", ReasonCordoned: "cordoned",
	ReasonQuotaLimit: "quota-limit", ReasonGuarantee: "guarantee", ReasonFairShare: "fair-share",
	ReasonBackoff: "backoff", ReasonDeclined: "declined", ReasonSuppressed: "suppressed",
	ReasonNoPolicy: "no-policy", ReasonOffered: "offered", ReasonNoNodes: "no-nodes",
	ReasonNotConsidered: "not-considered", ReasonDevices: "devices",
	ReasonExited: "exited", ReasonSignaled: "signaled", ReasonOOM: "out-of-memory",
	ReasonKilledByUser: "killed-by-user", ReasonKilledByPlugin: "killed-by-plugin",
	ReasonUnhealthy: "unhealthy", ReasonImageNotFound: "image-not-found",
	ReasonImageDigest: "image-digest", ReasonImageInvalid: "image-invalid",
	ReasonImageUnavailable: "image-unavailable", ReasonCommandNotFound: "command-not-found",
	ReasonCommandDenied: "command-denied", ReasonPortTaken: "port-taken",
	ReasonStartFailed: "start-failed", ReasonDiskFull: "disk-full", ReasonNodeLost: "node-lost",
	ReasonExitUnknown: "exit-unknown", ReasonInvalidTemplate: "invalid-template",
	ReasonPidsLimit: "pids-limit", ReasonCheckpointLost: "checkpoint-lost",
	ReasonDiskLimit: "disk-limit", ReasonDeviceLost: "device-lost", ReasonNotPermitted: "not-permitted",
	ReasonUnsupported: "unsupported", ReasonSidecarFailed: "sidecar-failed",
	ReasonImageUnsigned: "image-unsigned", ReasonVolume: "volume",
	ReasonTrap: "trap", ReasonDeadline: "deadline", ReasonMemory: "memory",
	ReasonAnswerTooLong: "answer-too-long", ReasonAnswerInvalid: "answer-invalid",
	ReasonNotOffered: "not-offered", ReasonNotGranted: "not-granted",
	ReasonOverCapacity: "over-capacity", ReasonUnknownNode: "unknown-node",
	ReasonUnknownDemand: "unknown-demand", ReasonStale: "stale",
	ReasonNodeIneligible: "node-ineligible", ReasonQuarantined: "quarantined",
}

// String returns the reason's name, such as "quota-limit".
func (r Reason) String() string {
	if s, ok := reasonNames[r]; ok {
		return s
	}
	return nameOf(nil, int(r))
}

// MarshalText writes the name.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads the name. Errors: an unknown name.
func (r *Reason) UnmarshalText(b []byte) error {
	for v, name := range reasonNames {
		if name == string(b) {
			*r = v
			return nil
		}
	}
	return Errorf(Invalid, "reason", "%q is no reason code", b)
}

// ResourceReason returns the reason that names a lack of the resource.
func ResourceReason(name string) Reason {
	switch name {
	case CPUs:
		return ReasonCPUs
	case Mem:
		return ReasonMem
	case Disk:
		return ReasonDisk
	case GPUs:
		return ReasonGPUs
	}
	return ReasonCustom
}
