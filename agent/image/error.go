package image

import (
	"context"
	"errors"
	"syscall"

	"github.com/drupe-os/drupe/sdk"
)

// Error is why an image cannot be had, with the task's reason for it.
type Error struct {
	Reason sdk.Reason
	Fault  *sdk.Fault
}

// Error returns the fault's text.
func (e *Error) Error() string { return e.Fault.Error() }

// Unwrap returns the fault.
func (e *Error) Unwrap() error { return e.Fault }

func failf(r sdk.Reason, kind sdk.FaultKind, format string, args ...any) *Error {
	return &Error{Reason: r, Fault: sdk.Errorf(kind, "image", format, args...)}
}

func (e *Error) fix(format string, args ...any) *Error {
	e.Fault = e.Fault.ToFix(format, args...)
	return e
}

// invalid is an image that is malformed or climbs out of its root.
func invalid(format string, args ...any) *Error {
	return failf(sdk.ReasonImageInvalid, sdk.Invalid, format, args...).fix("build the image again")
}

// classify gives an error of the machine its reason; an *Error keeps its own.
func classify(err error, doing string) error {
	var e *Error
	var f *sdk.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.As(err, &f):
		return reasoned(f)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return failf(sdk.ReasonDiskFull, sdk.Exhausted, "%s: the disk is full: %w", doing, err).
			fix("free space under the agent's data folder")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return failf(sdk.ReasonImageUnavailable, sdk.Timeout, "%s: %w", doing, err)
	}
	return failf(sdk.ReasonImageUnavailable, sdk.Unavailable, "%s: %w", doing, err)
}
