package host

import (
	"errors"

	"github.com/drupe-os/drupe/sdk"
)

// CallError says why a plugin's call was refused. The instance that made it is
// gone, and nothing of its answer counts.
type CallError struct {
	Plugin sdk.PluginName
	Reason sdk.Reason // ReasonTrap, Deadline, Memory, AnswerTooLong or AnswerInvalid
	Detail string     // what happened, for people; bounded
}

// maxDetail bounds the Detail of a CallError, in bytes.
const maxDetail = 600

// Error returns "plugin drf: trap: ...".
func (e *CallError) Error() string {
	return "plugin " + string(e.Plugin) + ": " + e.Reason.String() + ": " + e.Detail
}

// Unwrap returns the same as a fault.
func (e *CallError) Unwrap() error {
	kind := sdk.Unavailable
	if e.Reason == sdk.ReasonDeadline {
		kind = sdk.Timeout
	}
	return sdk.Errorf(kind, "plugin/"+string(e.Plugin), "its call was refused: %s", e.Reason).Because("%s", e.Detail).
		ToFix("see its log; install a version that is mended, or use another plugin")
}

// ReasonOf returns the reason of a refused call, ReasonNone for other errors
// and nil.
func ReasonOf(err error) sdk.Reason {
	if e := (*CallError)(nil); errors.As(err, &e) {
		return e.Reason
	}
	return sdk.ReasonNone
}

// cut shortens s to n bytes.
func cut(s string, n int) string {
	if len(s) > n {
		return s[:n] + "..."
	}
	return s
}
