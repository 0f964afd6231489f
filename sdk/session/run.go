package session

import (
	"encoding/json"
	"errors"
	"io"

	"github.com/drupe-os/drupe/sdk"
)

// Run carries a session to its end as its client, and closes it: what in gives
// is sent, what comes is written to out and errs. A nil in is no input, and nil
// writers are for what nobody wants to see. The result is as the task's side
// says; err is for a session that ended without one: Unavailable when the
// connection was lost, or what out or errs failed with.
//
// A read of in that is under way when the session ends is not waited for.
func (c *Conn) Run(in io.Reader, out, errs io.Writer) (Result, error) {
	defer c.Close()
	if in != nil {
		go func() {
			_, err := io.CopyBuffer(c.Writer(In), onlyReader{in}, make([]byte, MaxData))
			if err == nil {
				c.Send(InEnd, nil)
			}
		}()
	}
	for {
		kind, body, err := c.Receive()
		if err != nil {
			return Result{}, lost(err)
		}
		var to io.Writer
		switch kind {
		case Out:
			to = out
		case Err:
			to = errs
		case End:
			var r Result
			if err := json.Unmarshal(body, &r); err != nil {
				return Result{}, sdk.Errorf(sdk.Corrupt, "session", "its end is malformed: %v", err)
			}
			return r, nil
		}
		if to != nil {
			if _, err := to.Write(body); err != nil {
				return Result{}, err
			}
		}
	}
}

// onlyReader keeps io.Copy from what would bypass the buffer.
type onlyReader struct{ io.Reader }

func lost(err error) error {
	var f *sdk.Fault
	if errors.As(err, &f) {
		return err
	}
	return sdk.Errorf(sdk.Unavailable, "session", "the connection was lost: %w", err).
		ToFix("try again; what ran in the session has been ended")
}
