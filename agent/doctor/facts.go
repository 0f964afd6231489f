package doctor

import (
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Facts are what the checks judge. Numbers that are not known are -1.
type Facts struct {
	UID          int
	Capabilities uint64 // effective, as a set of bits

	Kernel     string // release
	Overlay    bool
	Seccomp    bool
	Namespaces int64  // user namespaces that may be made
	Profile    string // of AppArmor, that this process runs under; "": none

	Version     int      // of control groups: 1, 2, 0 for none
	Mixed       bool     // version 2 beside version 1
	Controllers []string // in either
	GroupsFixed bool     // mounted read-only

	Data       string // folder, absolute
	DataFault  string // why it cannot be used; "": it can
	Type       string // of its file system
	NoExec     bool
	Total      int64 // bytes
	Free       int64
	Inodes     int64 // 0: the file system does not count them
	InodesFree int64

	Mem       int64 // bytes
	Swap      int64
	SwapCount bool // the memory controller counts it

	Now    time.Time
	Synced bool // the kernel's clock is being set by somebody

	Ports     sdk.Range // the pool for tasks
	Ephemeral sdk.Range // for outgoing connections
	Taken     []uint16  // ports of the pool that somebody listens on
	Servers   []Server
	Hostname  string
	Resolved  bool // the host name has an address

	Certificate time.Time // until when; zero: none yet
	Identity    string    // why it cannot be used; "": it can, or there is none
	Exposed     []string  // secret files that others may read
	Token       string    // file with the token; "": none given
	TokenFault  string

	Files    int64 // open ones, hard limit
	Pids     int64
	Threads  int64
	Keys     int64
	Watches  int64 // of inotify, per user
	Monitors int64 // instances of inotify, per user
	Mappings int64 // of memory, per process
	Slow     bool  // RCU waits are not expedited
	Entropy  int64

	Driver      string   // of NVIDIA, as it says itself; "": none
	NoNodes     []string // its device nodes that are missing
	NoLibraries bool     // its libraries are missing

	Left   []string // control groups and folders of keepers that are gone
	Keeper string   // build of the keeper that runs for Data; "": none does
	Build  string   // build of the keeper in this program
}

// Server is one to join, and whether it can be reached.
type Server struct {
	Address string
	Fault   string
}
