package sdk

// Limits bound what a task may take. They are its burst: what it is charged for
// and may count on are its Resources. Zero values mean what each field says.
type Limits struct {
	// CPUs is a hard quota in thousandths of a core; 0: whatever is idle.
	CPUs Milli `json:"cpus,omitempty" msg:"c,omitempty"`
	// Mem is the memory in bytes at which it is ended; 0: as in Resources.
	Mem int64 `json:"mem,omitempty" msg:"m,omitempty"`
	// Swap is how many bytes may be swapped out beside Mem; 0: none.
	Swap int64 `json:"swap,omitempty" msg:"s,omitempty"`
	// Pids is how many processes and threads it may have; 0: 1024.
	Pids int64 `json:"pids,omitempty" msg:"p,omitempty"`
	// Disk is how many bytes it may write to its own root file system and
	// ephemeral volumes; 0: as in Resources, and without that unbounded.
	Disk int64 `json:"disk,omitempty" msg:"d,omitempty"`
	// IO bounds its traffic with block devices; nil: unbounded.
	IO *IOLimits `json:"io,omitempty" msg:"i,omitempty"`
	// Hugepages by page size; sizes that are not listed are not to be had.
	Hugepages []Hugepages `json:"hugepages,omitempty" msg:"h,omitempty"`
	// Rlimits of its processes, by name; others are the node's.
	Rlimits []Rlimit `json:"rlimits,omitempty" msg:"r,omitempty"`
}

// IsZero reports whether nothing is bounded beyond the defaults.
func (l Limits) IsZero() bool {
	return l.CPUs == 0 && l.Mem == 0 && l.Swap == 0 && l.Pids == 0 && l.Disk == 0 &&
		l.IO == nil && len(l.Hugepages) == 0 && len(l.Rlimits) == 0
}

// IOLimits bound what goes to and from the block device under the node's data
// folder.
type IOLimits struct {
	// Weight against other tasks, 1 to 1000; 0: 100.
	Weight int64 `json:"weight,omitempty" msg:"w,omitempty"`
	// Bytes and operations a second; 0: unbounded.
	ReadBytes  int64 `json:"read_bytes,omitempty" msg:"r,omitempty"`
	WriteBytes int64 `json:"write_bytes,omitempty" msg:"b,omitempty"`
	ReadOps    int64 `json:"read_ops,omitempty" msg:"o,omitempty"`
	WriteOps   int64 `json:"write_ops,omitempty" msg:"p,omitempty"`
}

// Hugepages bounds memory in pages of one size. Both are bytes.
type Hugepages struct {
	Size  int64 `json:"size" msg:"s"` // of a page: 2Mi, 1Gi
	Limit int64 `json:"limit" msg:"l"`
}

// Rlimit is one resource limit of setrlimit(2), in its unit.
type Rlimit struct {
	Name string `json:"name" msg:"n"` // "nofile", "core", ... without RLIMIT_
	Soft int64  `json:"soft" msg:"s"` // -1: unlimited
	Hard int64  `json:"hard" msg:"h"` // -1: unlimited
}

// CPUSet says which cores a task runs on.
type CPUSet struct {
	// Exclusive gives it cores of its own, as many as its cpus, which must be a
	// whole number. Tasks that are not exclusive share the others.
	Exclusive bool `json:"exclusive,omitempty" msg:"e,omitempty"`
	// NUMA: "single" keeps cores and memory on one node of the machine, and the
	// task fails where that cannot be; "" and "any" take what is free.
	NUMA string `json:"numa,omitempty" msg:"n,omitempty"`
}
