// Package doc holds the bodies of documents: what people declare in CUE, as Go
// types. The CUE in cue/ is the source; a test in package cue holds the two
// together, field by field.
package doc

import "github.com/drupe-os/drupe/sdk"

// Service keeps a number of instances running. Kind "service".
type Service struct {
	Role      sdk.RolePath `json:"role,omitempty"`
	Instances *int64       `json:"instances,omitempty"` // absent: 1
	Task
	Constraints []sdk.Constraint `json:"constraints,omitempty"`
	Upgrade     *Upgrade         `json:"upgrade,omitempty"`
	Backoff     *Backoff         `json:"backoff,omitempty"`
	Unreachable *Unreachable     `json:"unreachable,omitempty"`
	Priority    int32            `json:"priority,omitempty"`
}

// Task is what services and jobs have in common: one instance.
type Task struct {
	Run       sdk.Run              `json:"run"`
	Env       map[string]string    `json:"env,omitempty"`
	Resources sdk.Resources        `json:"resources,omitempty"` // absent names: cpus 0.1, mem 64Mi
	Limits    *sdk.Limits          `json:"limits,omitempty"`
	CPUSet    *sdk.CPUSet          `json:"cpuset,omitempty"`
	Ports     map[string]Port      `json:"ports,omitempty"`
	Checks    map[string]sdk.Check `json:"checks,omitempty"` // Check.Name is the key
	Sidecars  map[string]Sidecar   `json:"sidecars,omitempty"`
	// Volumes; VolumeMount.Name is the key.
	Volumes        map[string]sdk.VolumeMount `json:"volumes,omitempty"`
	Network        string                     `json:"network,omitempty"` // absent: "host"
	HostNamespaces []string                   `json:"host_namespaces,omitempty"`
	HostDevices    []sdk.HostDevice           `json:"host_devices,omitempty"`
	Grace          sdk.Duration               `json:"grace,omitempty"`
	Logs           *sdk.LogLimits             `json:"logs,omitempty"`
}

// Sidecar is a container that runs beside a task's own program.
type Sidecar struct {
	Container sdk.Container     `json:"container"`
	Env       map[string]string `json:"env,omitempty"`
	Limits    *sdk.Limits       `json:"limits,omitempty"`
}

// Port asks for a host port.
type Port struct {
	Host uint16 `json:"host,omitempty"` // 0: any from the pool
}

// Upgrade bounds a rollout, in thousandths of the instances.
type Upgrade struct {
	MinHealthy *sdk.Milli `json:"min_healthy,omitempty"` // absent: 1
	MaxOver    *sdk.Milli `json:"max_over,omitempty"`    // absent: 1
}

// Backoff delays replacements after failures: First × Factor^n, at most Max.
type Backoff struct {
	First  sdk.Duration `json:"first,omitempty"`  // absent: 1s
	Factor *sdk.Milli   `json:"factor,omitempty"` // absent: 1.15
	Max    sdk.Duration `json:"max,omitempty"`    // absent: 5m
}

// Unreachable says when an instance on a lost node is replaced.
type Unreachable struct {
	ReplaceAfter *sdk.Duration `json:"replace_after,omitempty"` // absent: 30s
}

// Job runs to its end: once when applied, or whenever its schedule says.
// Kind "job".
type Job struct {
	Role sdk.RolePath `json:"role,omitempty"`
	Task
	Constraints []sdk.Constraint `json:"constraints,omitempty"`
	Schedule    *Schedule        `json:"schedule,omitempty"` // absent: once
	Restart     *Restart         `json:"restart,omitempty"`  // absent: never
	Priority    int32            `json:"priority,omitempty"`
}

// Schedule is when a job runs.
type Schedule struct {
	Cron     string       `json:"cron"`               // five fields: minute hour day month weekday
	Timezone string       `json:"timezone,omitempty"` // IANA name; absent: UTC
	Overlap  string       `json:"overlap,omitempty"`  // "allow" (absent) or "forbid"
	Deadline sdk.Duration `json:"deadline,omitempty"` // a run not begun by then is missed; absent: 15m
}

// Restart says what follows a failed run.
type Restart struct {
	Retries int32    `json:"retries,omitempty"` // more tries after the first
	Backoff *Backoff `json:"backoff,omitempty"`
}

// Role is the body of kind "role"; the document's name is the role's path.
type Role struct {
	Weight    *sdk.Milli    `json:"weight,omitempty"` // absent: 1
	Guarantee sdk.Resources `json:"guarantee,omitempty"`
	Limit     sdk.Resources `json:"limit,omitempty"`
}

// Node is the body of kind "node"; the document's name is the node's.
type Node struct {
	Attributes   map[string]string        `json:"attributes,omitempty"`
	Reservations map[string]sdk.Resources `json:"reservations,omitempty"` // by role path
	Cordoned     bool                     `json:"cordoned,omitempty"`
}
