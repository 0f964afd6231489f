package replica

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"

	"github.com/drupe-os/drupe/sdk"
)

// Future is a proposal on its way. The zero Future is not usable.
type Future struct {
	raft    raft.ApplyFuture
	stopped <-chan struct{}
	err     error // refused before it reached raft
}

// Wait returns the index at which the proposal was committed and what the
// machine answered, once it is applied here. One caller may wait for a Future.
//
// Errors: TooLarge and Exhausted: not committed, and not sent. Unavailable:
// not committed, because this server is not the leader. Timeout: this server
// ceased to lead or stopped, or ctx ended, meanwhile; it may be committed or
// not.
func (f Future) Wait(ctx context.Context) (index uint64, result any, err error) {
	if f.err != nil {
		return 0, nil, f.err
	}
	if err := wait(ctx, f.stopped, f.raft); err != nil {
		return 0, nil, err
	}
	return f.raft.Index(), f.raft.Response(), nil
}

// wait waits for a future of raft, which itself knows no context, and never
// answers what was still in its queue when it stopped.
func wait(ctx context.Context, stopped <-chan struct{}, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return fault(err)
	case <-stopped:
		return fault(raft.ErrRaftShutdown)
	case <-ctx.Done():
		return sdk.Errorf(sdk.Timeout, "log", "no answer in time: %w", context.Cause(ctx)).
			Because("the entry may or may not be committed")
	}
}

// fault turns raft's errors into faults; those of the store are faults already.
func fault(err error) error {
	var f *sdk.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return err
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress),
		errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrNotVoter):
		return sdk.Errorf(sdk.Unavailable, "log", "this server does not lead: %w", err).
			ToFix("try again; the request goes to the leader")
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore), errors.Is(err, raft.ErrRaftShutdown):
		return sdk.Errorf(sdk.Timeout, "log", "this server ceased to lead meanwhile: %w", err).
			Because("the entry may or may not be committed")
	}
	return sdk.Errorf(sdk.Unavailable, "log", "%w", err)
}
