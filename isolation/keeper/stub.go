package keeper

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stubArg is the argument that makes this program wait, inside a container that
// was prepared ahead, for what it is to become.
const stubArg = "stub"

// The descriptors that a stub is given: its own program, so that it needs
// nothing of the container's files, where it is told what to become, and where
// it says that it cannot.
const (
	stubProgram = 3
	stubOrders  = 4
	stubFailure = 5
)

// stubArgs run the stub: its program is its first file.
var stubArgs = []string{fmt.Sprintf("/proc/self/fd/%d", stubProgram), stubArg}

// orders are what a stub becomes.
type orders struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
}

// stub waits and becomes a task's program. It has the container's user,
// capabilities and filter of system calls already, so it can do no more than
// the program itself could. It returns the exit code when there is nothing to
// become, or it cannot.
func stub() int {
	for fd := stubProgram; fd <= stubFailure; fd++ {
		unix.CloseOnExec(fd)
	}
	var o orders
	if err := json.NewDecoder(os.NewFile(stubOrders, "orders")).Decode(&o); err != nil || len(o.Args) == 0 {
		return 125 // whoever prepared this is gone
	}
	os.Clearenv()
	for _, e := range o.Env {
		if name, value, ok := strings.Cut(e, "="); ok {
			os.Setenv(name, value)
		}
	}
	path, err := exec.LookPath(o.Args[0])
	if err == nil {
		err = &exec.Error{Name: path, Err: syscall.Exec(path, o.Args, o.Env)}
	}
	fmt.Fprint(os.NewFile(stubFailure, "failure"), err) // explain knows these words
	return 127
}

// stubPipes are the keeper's ends of what a stub is told and says.
type stubPipes struct{ orders, failure *os.File }

// newStub returns the keeper's pipes and the files that a stub is given, in the
// order of their descriptors. The caller closes the latter once it runs.
func newStub() (p *stubPipes, theirs []*os.File, err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, nil, err
	}
	hear, tell, err := os.Pipe()
	if err != nil {
		self.Close()
		return nil, nil, err
	}
	failure, say, err := os.Pipe()
	if err != nil {
		self.Close()
		hear.Close()
		tell.Close()
		return nil, nil, err
	}
	return &stubPipes{tell, failure}, []*os.File{self, hear, say}, nil
}

// become makes the stub the program. It returns once the program is executed:
// the pipe on which the stub could complain closes by that.
func (p *stubPipes) become(o orders) error {
	defer p.close()
	deadline := time.Now().Add(10 * time.Second)
	p.orders.SetWriteDeadline(deadline)
	p.failure.SetReadDeadline(deadline)
	if err := json.NewEncoder(p.orders).Encode(o); err != nil {
		return fmt.Errorf("the prepared container does not listen: %w", err)
	}
	said, err := io.ReadAll(io.LimitReader(p.failure, 4<<10))
	switch {
	case err != nil:
		return fmt.Errorf("the prepared container does not answer: %w", err)
	case len(said) > 0:
		return fmt.Errorf("%s", said)
	}
	return nil
}

func (p *stubPipes) close() {
	p.orders.Close()
	p.failure.Close()
}
