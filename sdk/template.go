package sdk

//msgp:tuple EnvVar

// Template is everything a node must know to run a task, but for what differs
// from instance to instance (id, node, host ports). Tasks of one demand share
// one template.
type Template struct {
	Run Run `json:"run" msg:"r"`
	// Env is added to the image's environment, sorted by name.
	Env []EnvVar `json:"env,omitempty" msg:"e,omitempty"`
	// Resources are what the task is charged for and may count on.
	Resources Resources `json:"resources" msg:"q"`
	// Limits bound what the task may take.
	Limits Limits `json:"limits,omitzero" msg:"l,omitzero"`
	// CPUSet says which cores it runs on; nil: the shared ones.
	CPUSet *CPUSet `json:"cpuset,omitempty" msg:"u,omitempty"`
	// Sidecars run beside it and share its network, IPC and volumes.
	Sidecars []Sidecar `json:"sidecars,omitempty" msg:"s,omitempty"`
	// Volumes are mounted in it and in its sidecars.
	Volumes []VolumeMount `json:"volumes,omitempty" msg:"v,omitempty"`
	// Network is NetworkHost or NetworkPrivate; "" is NetworkHost.
	Network string `json:"network,omitempty" msg:"n,omitempty"`
	// HostNamespaces it shares with the node, each of which the operator must
	// have granted: "pid", "ipc", "users".
	HostNamespaces []string `json:"host_namespaces,omitempty" msg:"x,omitempty"`
	// HostDevices of the node it may use, each of which the operator must have
	// granted. GPUs are not listed here: they are Resources.
	HostDevices []HostDevice `json:"host_devices,omitempty" msg:"d,omitempty"`
	// Ports are host ports the task is given, by name.
	Ports []PortRequest `json:"ports,omitempty" msg:"p,omitempty"`
	// Checks decide whether a running task is healthy. None: running is enough.
	Checks []Check `json:"checks,omitempty" msg:"c,omitempty"`
	// Grace is the time between the polite and the final signal. 0 means 5s.
	Grace Duration `json:"grace,omitempty" msg:"g,omitempty"`
	// Logs bounds what is kept of the task's output on the node.
	Logs LogLimits `json:"logs" msg:"o"`
}

// EnvVar is one environment variable.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Networks of a task.
const (
	// NetworkHost is the node's own network: the task listens on the host ports
	// it is given.
	NetworkHost = "host"
	// NetworkPrivate is a network of the task's own with nothing in it but
	// loopback. Its ports are published on the node; nothing else comes in, and
	// nothing goes out.
	NetworkPrivate = "private"
)

// Run says what to run. Exactly one field is set.
type Run struct {
	Container *Container `json:"container,omitempty" msg:"c,omitempty"`
	Process   *Process   `json:"process,omitempty" msg:"p,omitempty"`
	Wasm      *Wasm      `json:"wasm,omitempty" msg:"w,omitempty"`
}

// Process runs a program of the node's own file system, in the same sandbox as
// a container: it sees the node's files that everybody may read, and writes to
// a layer of its own. The operator must have granted it.
type Process struct {
	// Command is the program, by its absolute path, and its arguments.
	Command []string `json:"command" msg:"c"`
	// WorkDir is where it starts; "" is "/".
	WorkDir string `json:"workdir,omitempty" msg:"w,omitempty"`
	// User is "uid" or "uid:gid" within the task; "" is 0:0.
	User string `json:"user,omitempty" msg:"u,omitempty"`
	// Capabilities are added to the (empty) default set, without "CAP_".
	Capabilities []string `json:"capabilities,omitempty" msg:"k,omitempty"`
}

// Wasm runs a WASI module (preview 1) in the same sandbox as a container.
type Wasm struct {
	// Module is "file:PATH" for a file on the node, or names an OCI artifact
	// whose layer is a module in the forms that Container.Image has.
	Module string `json:"module" msg:"m"`
	// Args are the module's arguments after its name.
	Args []string `json:"args,omitempty" msg:"a,omitempty"`
}

// Sidecar is a container that runs beside a task's own program, shares its
// network, IPC and volumes, and starts before it and ends after it. It is
// bounded by the task's limits together with all else. One that ends with
// success is done; one that fails fails the task.
type Sidecar struct {
	Name      string    `json:"name,omitempty" msg:"n"`
	Container Container `json:"container" msg:"c"`
	// Env is added to the image's environment, sorted by name.
	Env []EnvVar `json:"env,omitempty" msg:"e,omitempty"`
	// Limits of its own, within the task's: cpus, mem, pids.
	Limits Limits `json:"limits,omitzero" msg:"l,omitzero"`
}

// VolumeMount is a folder mounted in a task. Exactly one of Ephemeral and Host
// is set.
type VolumeMount struct {
	Name string `json:"name,omitempty" msg:"n"`
	// Path is where the task finds it.
	Path     string `json:"path" msg:"p"`
	ReadOnly bool   `json:"readonly,omitempty" msg:"r,omitempty"`
	// Ephemeral begins empty with the task and goes with it.
	Ephemeral *EphemeralVolume `json:"ephemeral,omitempty" msg:"e,omitempty"`
	// Host is a folder of the node, which the operator must have granted.
	Host *HostVolume `json:"host,omitempty" msg:"h,omitempty"`
}

// EphemeralVolume is a folder that lives as long as the task.
type EphemeralVolume struct {
	// Size bounds it, in bytes; 0: by the task's disk limit, or in memory by
	// its memory limit.
	Size int64 `json:"size,omitempty" msg:"s,omitempty"`
	// Memory keeps it in memory, which is charged to the task.
	Memory bool `json:"memory,omitempty" msg:"m,omitempty"`
}

// HostVolume is a folder of the node.
type HostVolume struct {
	Path string `json:"path" msg:"p"`
}

// HostDevice is a device node of the machine.
type HostDevice struct {
	Path string `json:"path" msg:"p"` // on the node and in the task: /dev/fuse
	// Access is any of "r", "w" and "m" (mknod) together; "" is "rw".
	Access string `json:"access,omitempty" msg:"a,omitempty"`
}

// Container runs an OCI image.
type Container struct {
	// Image is "oci:PATH[:TAG]" or "oci:PATH@DIGEST" for a layout folder on the
	// node, or "HOST/NAME@DIGEST" for a registry.
	Image string `json:"image" msg:"i"`
	// Command replaces the image's entry point and arguments.
	Command []string `json:"command,omitempty" msg:"c,omitempty"`
	// Args replaces the image's arguments only.
	Args []string `json:"args,omitempty" msg:"a,omitempty"`
	// WorkDir replaces the image's working directory.
	WorkDir string `json:"workdir,omitempty" msg:"w,omitempty"`
	// User replaces the image's user: "uid", "uid:gid" or a name in the image.
	User string `json:"user,omitempty" msg:"u,omitempty"`
	// ReadOnly makes the root filesystem read-only.
	ReadOnly bool `json:"readonly,omitempty" msg:"r,omitempty"`
	// Capabilities are added to the (empty) default set, without "CAP_".
	Capabilities []string `json:"capabilities,omitempty" msg:"k,omitempty"`
}

// PortRequest asks for one host port.
type PortRequest struct {
	Name string `json:"name" msg:"n"`
	// Host is the wanted port; 0 takes any from the node's pool.
	Host uint16 `json:"host,omitempty" msg:"h,omitempty"`
}

// PortBinding is a host port a task holds. The task sees it in PORT_<NAME>.
type PortBinding struct {
	Name string `json:"name" msg:"n"`
	Port uint16 `json:"port" msg:"p"`
}

// Check is one health check, run on the node. Exactly one of HTTP, HTTPS, TCP,
// GRPC and Command is set.
type Check struct {
	Name    string        `json:"name,omitempty" msg:"n"`
	HTTP    *HTTPCheck    `json:"http,omitempty" msg:"h,omitempty"`
	HTTPS   *HTTPSCheck   `json:"https,omitempty" msg:"s,omitempty"`
	TCP     *TCPCheck     `json:"tcp,omitempty" msg:"t,omitempty"`
	GRPC    *GRPCCheck    `json:"grpc,omitempty" msg:"g,omitempty"`
	Command *CommandCheck `json:"command,omitempty" msg:"c,omitempty"`
	// Readiness: while it fails the task is Unready instead of Healthy, and it
	// never ends the task.
	Readiness bool `json:"readiness,omitempty" msg:"r,omitempty"`
	// Interval between the end of one try and the start of the next; 0 is 10s.
	Interval Duration `json:"interval,omitempty" msg:"i,omitempty"`
	// Timeout of one try; 0 is 5s.
	Timeout Duration `json:"timeout,omitempty" msg:"o,omitempty"`
	// Delay before failures count, from the task's start; 0 is 30s. A success
	// ends it early.
	Delay Duration `json:"delay,omitempty" msg:"d,omitempty"`
	// Failures in a row that end the task; 0 is 3.
	Failures int32 `json:"failures,omitempty" msg:"f,omitempty"`
}

// HTTPCheck succeeds on an answer with a status from 200 to 399.
type HTTPCheck struct {
	Port string `json:"port" msg:"p"` // name of a port
	Path string `json:"path" msg:"u"`
}

// HTTPSCheck succeeds on an answer with a status from 200 to 399 over TLS.
type HTTPSCheck struct {
	Port string `json:"port" msg:"p"` // name of a port
	Path string `json:"path" msg:"u"`
	// ServerName is what the certificate must be for; "": it is not checked.
	ServerName string `json:"server_name,omitempty" msg:"n,omitempty"`
}

// GRPCCheck succeeds when grpc.health.v1.Health answers SERVING.
type GRPCCheck struct {
	Port    string `json:"port" msg:"p"`                        // name of a port
	Service string `json:"service,omitempty" msg:"s,omitempty"` // "": the server as a whole
	TLS     bool   `json:"tls,omitempty" msg:"t,omitempty"`     // its certificate is not checked
}

// CommandCheck succeeds when a program run in the task's own container exits
// with 0.
type CommandCheck struct {
	Command []string `json:"command" msg:"c"` // the program and its arguments
}

// TCPCheck succeeds when a connection opens.
type TCPCheck struct {
	Port string `json:"port" msg:"p"` // name of a port
}

// LogLimits bounds a task's kept output, per stream.
type LogLimits struct {
	MaxBytes int64 `json:"max_bytes,omitempty" msg:"b,omitempty"` // of one file; 0 is 10Mi
	Files    int32 `json:"files,omitempty" msg:"f,omitempty"`     // kept, newest included; 0 is 3
}
