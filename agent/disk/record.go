package disk

import "github.com/drupe-os/drupe/sdk"

//go:generate go run github.com/tinylib/msgp@v1.6.5 -file record.go -io=false -tests=false -unexported

// Record is what a node must not forget about one task.
type Record struct {
	// Assignment is the last the servers sent, with its template.
	Assignment sdk.Assignment `msg:"a"`
	Status     sdk.TaskStatus `msg:"s"`
	// Image is the digest of the manifest it was resolved to; its layers are in
	// use as long as the record is here.
	Image sdk.Digest `msg:"i,omitempty"`
	// Sidecars are the same of its sidecars.
	Sidecars []sdk.Digest `msg:"c,omitempty"`
	// StopSignal is the polite signal the image asks for; 0: SIGTERM.
	StopSignal int32 `msg:"g,omitempty"`
	// Launched: the program was, or was about to be, executed.
	Launched bool     `msg:"l,omitempty"`
	Termed   sdk.Time `msg:"t,omitempty"` // when the polite signal was sent
	Killed   sdk.Time `msg:"k,omitempty"` // when SIGKILL was last sent
}

// summary says how many records there are and what they add up to, so that a
// record that silently vanished is noticed.
type summary struct {
	Count uint64 `msg:"c"`
	Sums  uint64 `msg:"s"` // sum of all records' checksums, wrapping
}

// Identity is who this node is.
type Identity struct {
	Node sdk.NodeID `msg:"n"`
	Name string     `msg:"m"`
	// Boot is the kernel's boot id at the last start of the agent: a new one
	// means that every process of before is gone.
	Boot string `msg:"b"`
}
