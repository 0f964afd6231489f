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
	// Limits bound what the task may take: "cpus" (hard quota; absent: only
	// weighted by Resources), "mem" (absent: as in Resources), "pids" in
	// thousandths like all counts (absent: 1024).
	Limits Resources `json:"limits,omitempty" msg:"l,omitempty"`
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

// Run says what to run. Exactly one field is set.
type Run struct {
	Container *Container `json:"container,omitempty" msg:"c,omitempty"`
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

// Check is one health check, run on the node. Exactly one of HTTP and TCP is
// set.
type Check struct {
	Name string     `json:"name,omitempty" msg:"n"`
	HTTP *HTTPCheck `json:"http,omitempty" msg:"h,omitempty"`
	TCP  *TCPCheck  `json:"tcp,omitempty" msg:"t,omitempty"`
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

// TCPCheck succeeds when a connection opens.
type TCPCheck struct {
	Port string `json:"port" msg:"p"` // name of a port
}

// LogLimits bounds a task's kept output, per stream.
type LogLimits struct {
	MaxBytes int64 `json:"max_bytes,omitempty" msg:"b,omitempty"` // of one file; 0 is 10Mi
	Files    int32 `json:"files,omitempty" msg:"f,omitempty"`     // kept, newest included; 0 is 3
}
