package kernel

import (
	"context"
	"time"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/kernel/replica"
	"github.com/drupe-os/drupe/sdk"
)

// proposeTime bounds how long a proposal is waited for.
const proposeTime = 30 * time.Second

// propose commits commands as one entry and returns their results.
func (k *Kernel) propose(ctx context.Context, by string, cmds ...core.Command) ([]core.Result, error) {
	f, err := k.send(by, cmds)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	return wait(ctx, f)
}

// send starts to commit an entry.
func (k *Kernel) send(by string, cmds []core.Command) (replica.Future, error) {
	e := core.Entry{Time: now(), By: by, Commands: cmds}
	b, err := e.MarshalMsg(nil)
	if err != nil {
		return replica.Future{}, sdk.Errorf(sdk.Internal, "log", "encode: %v", err)
	}
	return k.replica.Propose(b), nil
}

// entrySize is what an entry of several commands stays below, in the codec's
// estimate, which is never too low.
const entrySize = replica.MaxEntry - 64

// proposeAll commits commands in their order, in as few entries as their sizes
// allow, and returns their results. A command too large for one entry is cut;
// its result is that of its last piece, or of the first that failed.
func (k *Kernel) proposeAll(ctx context.Context, by string, cmds []core.Command) ([]core.Result, error) {
	var pieces []core.Command
	var of []int // of which command each piece is
	for i := range cmds {
		for _, p := range cmds[i].Split(entrySize) {
			pieces, of = append(pieces, p), append(of, i)
		}
	}
	var futures []replica.Future
	for begin := 0; begin < len(pieces); {
		end, size := begin, 0
		for end < len(pieces) && (end == begin || size+pieces[end].Msgsize() < entrySize) {
			size += pieces[end].Msgsize()
			end++
		}
		f, err := k.send(by, pieces[begin:end])
		if err != nil {
			return nil, err
		}
		futures = append(futures, f)
		begin = end
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTime)
	defer cancel()
	results := make([]core.Result, len(cmds))
	at := 0
	for _, f := range futures {
		part, err := wait(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, r := range part {
			if results[of[at]].Fault == nil {
				results[of[at]] = r
			}
			at++
		}
	}
	return results, nil
}

// wait returns the results of an entry.
func wait(ctx context.Context, f replica.Future) ([]core.Result, error) {
	_, result, err := f.Wait(ctx)
	if err != nil {
		return nil, err
	}
	if err, ok := result.(error); ok {
		return nil, err
	}
	results, ok := result.([]core.Result)
	if !ok {
		return nil, sdk.Errorf(sdk.Internal, "log", "an entry without results")
	}
	return results, nil
}

// one commits one command and returns its result, or its fault.
func (k *Kernel) one(ctx context.Context, by string, c core.Command) (core.Result, error) {
	results, err := k.propose(ctx, by, c)
	if err != nil {
		return core.Result{}, err
	}
	if f := results[0].Fault; f != nil {
		return core.Result{}, f
	}
	return results[0], nil
}
