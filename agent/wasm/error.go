package wasm

import (
	"context"
	"errors"
	"syscall"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

func fail(r sdk.Reason, f *sdk.Fault) error { return &isolation.Error{Reason: r, Err: f} }

// classify gives an error of the machine its reason; an *isolation.Error keeps
// its own.
func classify(err error, doing string) error {
	var known *isolation.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fail(sdk.ReasonDiskFull, sdk.Errorf(sdk.Exhausted, "module", "%s: the disk is full: %w", doing, err).
			ToFix("free space under the agent's data folder"))
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fail(sdk.ReasonImageUnavailable, sdk.Errorf(sdk.Timeout, "module", "%s: %w", doing, err))
	case sdk.KindOf(err) == sdk.Unsupported:
		return &isolation.Error{Reason: sdk.ReasonUnsupported, Err: err}
	}
	return fail(sdk.ReasonImageUnavailable, sdk.Errorf(sdk.Unavailable, "module", "%s: %w", doing, err))
}
