package keeper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/archive"
	"github.com/drupe-os/drupe/sdk/session"
)

// archiveArg is the argument that makes this program pack or unpack.
const archiveArg = "archive"

// archive copies files out of a container or into it. This very program does
// it, executed within the container: so there is no path that could lead out.
func (k *keeper) archive(p *place, q *session.Request) (func(session.Transport), error) {
	subject := "task/" + string(p.t.id)
	if !strings.HasPrefix(q.Path, "/") || strings.IndexByte(q.Path, 0) >= 0 {
		return nil, sdk.Errorf(sdk.Invalid, subject, "%.80q is not an absolute path in the container", q.Path).
			ToFix("write it from / on")
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fault(subject, err)
	}
	defer self.Close()
	proc := &libcontainer.Process{
		Args:       []string{"/proc/self/fd/3", archiveArg, string(q.Op), q.Path},
		Env:        []string{"HOME=/", "PATH=/bin"},
		Cwd:        "/",
		ExtraFiles: []*os.File{self},
	}
	if err := p.asOwner(proc); err != nil {
		return nil, err
	}
	c, err := k.spawn(p, proc, stdio{input: q.Op == session.Put})
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, subject, "its files cannot be copied").Because("%v", err)
	}
	return func(t session.Transport) {
		conn := session.New(t, nil)
		defer conn.Close()
		said := &cut{left: 16 << 10}
		r := session.Result{}
		if code := c.converse(conn, k.ending, said); code != 0 {
			r.Error = new(sdk.Fault)
			if json.Unmarshal(said.b.Bytes(), r.Error) != nil || r.Error.Kind == "" {
				r.Error = sdk.Errorf(sdk.Internal, subject, "copying files ended with code %d", code).Because("%s", said.b.String())
			}
		}
		k.finish(conn, r)
	}, nil
}

// asOwner makes proc the container's owner, who may read and write all files
// that are the container's. That is safe where its ids are its own; elsewhere,
// and where the files are the node's, proc is only what the container's program
// is.
func (p *place) asOwner(proc *libcontainer.Process) error {
	own, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		return err
	}
	theirs, err := os.Readlink(pidDir(p.pid, "ns/user"))
	if err != nil {
		return gone(p.t.id)
	}
	if own == theirs || p.program.HostRoot {
		return p.asUser(proc, p.program.User)
	}
	caps := []string{"CAP_DAC_OVERRIDE", "CAP_FOWNER"}
	proc.Capabilities = &configs.Capabilities{Bounding: caps, Effective: caps, Permitted: caps}
	return nil
}

// cut keeps the beginning of what is written to it.
type cut struct {
	b    bytes.Buffer
	left int
}

func (c *cut) Write(b []byte) (int, error) {
	n := min(len(b), c.left)
	c.b.Write(b[:n])
	c.left -= n
	return len(b), nil
}

// archiver is the program's life within the container.
func archiver(args []string) int {
	err := fmt.Errorf("unknown: %q", args)
	if len(args) == 2 {
		switch session.Op(args[0]) {
		case session.Get:
			err = archive.Pack(os.Stdout, args[1])
		case session.Put:
			err = archive.Unpack(os.Stdin, args[1])
		}
	}
	if err == nil {
		return 0
	}
	b, _ := json.Marshal(fault("files", err))
	os.Stderr.Write(b)
	return 1
}
