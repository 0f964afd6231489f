package agent

import (
	"bufio"
	"context"
	"encoding/json"

	"github.com/drupe-os/drupe/sdk"
	frames "github.com/drupe-os/drupe/sdk/session"
	"github.com/drupe-os/drupe/sdk/wire"
)

// exec runs a program in a task's container, for its checks, and returns its
// exit code. What it prints is thrown away. Errors: the runtime's, and the
// context's when it ends first, which ends the program.
func (a *Agent) exec(ctx context.Context, id sdk.TaskID, command []string) (int32, error) {
	conn, err := a.cfg.Runtime.Open(ctx, id, &frames.Request{Op: frames.Exec, Command: command})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in := bufio.NewReader(conn)
	var buf []byte
	for {
		kind, body, err := wire.Read(in, &buf)
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err != nil:
			return 0, sdk.Errorf(sdk.Unavailable, "task/"+string(id), "the session broke off: %w", err)
		case kind != frames.End:
			continue
		}
		var r frames.Result
		if err := json.Unmarshal(body, &r); err != nil {
			return 0, sdk.Errorf(sdk.Corrupt, "task/"+string(id), "the session ended without a result: %w", err)
		}
		if r.Error != nil {
			return 0, r.Error
		}
		return r.Code, nil
	}
}
