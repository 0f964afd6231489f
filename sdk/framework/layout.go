package framework

// Names of what a framework module exports, beside "memory". Answers are packed:
// address in the upper 32 bits, length in the lower.
const (
	ExportMarker = "drupe_abi_framework_1" // ( ), never called
	ExportBuffer = "drupe_buffer"          // (bytes u32) → address of so much room
	ExportStart  = "drupe_start"           // (bytes u32) → packed sdk.FrameworkAnswer; the room holds an sdk.FrameworkStart
	ExportCall   = "drupe_call"            // (bytes u32) → packed sdk.FrameworkAnswer; the room holds an sdk.FrameworkCall
)
