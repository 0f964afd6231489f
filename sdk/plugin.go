package sdk

// ExtensionPoint is what a plugin does for the kernel.
type ExtensionPoint string

// The extension points.
const (
	PointPolicy    ExtensionPoint = "policy"
	PointFramework ExtensionPoint = "framework"
)

// Manifest declares what a plugin is and what it wants. It travels inside the
// module, as the custom section "drupe.manifest" in JSON, so the module's digest
// covers it.
type Manifest struct {
	Name    PluginName     `json:"name,omitempty" msg:"n"`
	Version string         `json:"version" msg:"v"` // semantic
	Point   ExtensionPoint `json:"point" msg:"p"`
	ABI     uint32         `json:"abi" msg:"a"`
	Summary string         `json:"summary" msg:"s"`
	// Kinds are the document kinds the plugin owns.
	Kinds []string `json:"kinds,omitempty" msg:"k,omitempty"`
	// Roles it may act for, each with its subtree; "" is all.
	Roles  []RolePath   `json:"roles,omitempty" msg:"r,omitempty"`
	Limits PluginLimits `json:"limits,omitzero" msg:"l"`
}

// PluginLimits bound one plugin. Zero means the kernel's default.
type PluginLimits struct {
	MemoryPages uint32   `json:"memory_pages,omitempty" msg:"m,omitempty"` // of 64 KiB
	Deadline    Duration `json:"deadline,omitempty" msg:"d,omitempty"`     // of one call
	Answer      int64    `json:"answer,omitempty" msg:"a,omitempty"`       // bytes of one answer
	HostCalls   int64    `json:"host_calls,omitempty" msg:"h,omitempty"`   // in one call
}

// Plugin is an installed plugin.
type Plugin struct {
	Manifest   Manifest `json:"manifest" msg:"m"`
	Digest     Digest   `json:"digest" msg:"d"` // of the module
	Size       int64    `json:"size" msg:"z"`
	Generation uint64   `json:"generation" msg:"g"` // rises with each install
	Installed  Time     `json:"installed" msg:"t"`
	By         string   `json:"by" msg:"y"`
	// Quarantined plugins are not called until they are installed again.
	Quarantined bool   `json:"quarantined,omitempty" msg:"q,omitempty"`
	Detail      string `json:"detail,omitempty" msg:"e,omitempty"`
	// Rejected counts calls whose result was refused, by trap, deadline or an
	// invalid answer, since the last install.
	Rejected uint64 `json:"rejected" msg:"x"`
}
