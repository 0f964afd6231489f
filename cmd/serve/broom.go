package serve

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/sdk/client"
)

// BroomArgument is the hidden first argument that makes the program a broom.
const BroomArgument = "dev-broom"

// startBroom starts a process that outlives this one and, when this one ends
// without having cleaned up (kill -9), removes what it left: the data folder
// once its keepers have taken down what they run, and the context. The returned
// function sends the broom home.
func startBroom(data, contexts, name string) (func(), error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", BroomArgument, data, contexts, name)
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	return func() {
		w.Close() // the folder is gone by now: the broom finds nothing
		cmd.Wait()
	}, nil
}

// Broom is the broom's main: args are the data folder, the folder of contexts
// and the context's name. It waits for its standard input to end.
func Broom(args []string) int {
	if len(args) != 3 {
		return 2
	}
	data := args[0]
	io.Copy(io.Discard, os.Stdin)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end) && mountedBelow(data); {
		time.Sleep(50 * time.Millisecond)
	}
	if mountedBelow(data) {
		return 1 // what a keeper could not take down is not to be removed under it
	}
	if _, err := os.Stat(data); err == nil {
		client.RemoveContext(args[1], args[2])
		if err := os.RemoveAll(data); err != nil {
			return 1
		}
	}
	return 0
}

// mountedBelow reports whether anything is mounted in a folder.
func mountedBelow(folder string) bool {
	b, err := os.ReadFile("/proc/self/mountinfo")
	return err == nil && bytes.Contains(b, []byte(" "+folder+"/"))
}
