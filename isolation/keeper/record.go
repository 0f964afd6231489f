package keeper

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// record is what a keeper has to know of a container when it is not the one
// that created it. It lies in the container's folder.
type record struct {
	Spec    *isolation.Spec `json:"spec"`
	Boot    string          `json:"boot"` // of the machine; a container does not survive it
	Started sdk.Time        `json:"started,omitempty"`
	// Begun: its programs were executed. Started without it is the time between
	// the decision and the deed: see finishStart.
	Begun bool `json:"begun,omitempty"`
	// Name of the container and its cgroup, where it was prepared ahead and
	// they are not called like the task.
	Name string `json:"name,omitempty"`
	// Cgroups are the task's, by controller, so that what a crash left of a
	// half-made task can be found. Those of its containers are these, or lie in
	// these.
	Cgroups map[string]string `json:"cgroups,omitempty"`
	// Loop: its files have a file system of their own.
	Loop bool `json:"loop,omitempty"`
	// Notes say what it has less of than was asked for.
	Notes []string `json:"notes,omitempty"`
	// trace is of the task's own program.
	trace
	// Sidecars are in the order of the specification.
	Sidecars []trace `json:"sidecars,omitempty"`
}

// trace is what has to be known of one container.
type trace struct {
	PID int `json:"pid,omitempty"`
	// Pipes are the inode numbers of the pipes for its output.
	Pipes [2]uint64 `json:"pipes"`
	// Exit is how it ended: of the task's own program from when that is known
	// until all is freed, of a sidecar when it did before its task.
	Exit *isolation.Exit `json:"exit,omitempty"`
}

const (
	recordFile = "container.json"
	exitFile   = "exit.json"
)

// writeJSON replaces a file whole. It is not forced to the disk: when the
// machine goes down, the containers go too.
func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		os.Remove(temp)
		return err
	}
	return os.Rename(temp, path)
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func (t *task) saveRecord() error { return writeJSON(filepath.Join(t.dir, recordFile), &t.rec) }

// bootID names this run of the machine's kernel.
func bootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

func now() sdk.Time { return sdk.Time(time.Now().UnixMilli()) }
