package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/drupe-os/drupe/sdk"
)

// Streams are where a long-running command reads and writes.
type Streams struct {
	Out, Err io.Writer
	Getenv   func(string) string
}

// RunDev, RunServer and RunAgent run the components until ctx is done. The
// package that joins kernel and agent sets them, so that the command line itself
// depends on neither.
var (
	RunDev    func(ctx context.Context, o DevOptions, s Streams) error
	RunServer func(ctx context.Context, o ServerOptions, s Streams) error
	RunAgent  func(ctx context.Context, o AgentOptions, s Streams) error
	RunDoctor func(ctx context.Context, o DoctorOptions) ([]Finding, error)
)

// notBuilt is the answer of a binary that holds the command line only.
func notBuilt(what string) error {
	return sdk.Errorf(sdk.Unsupported, what, "is not part of this binary").
		Because("it was built as a client only").ToFix("use the full binary on Linux")
}

// Printf writes a line of result.
func (s Streams) Printf(format string, args ...any) { fmt.Fprintf(s.Out, format, args...) }
