package logfile

import (
	"encoding/json"
	"errors"

	"github.com/drupe-os/drupe/sdk"
)

// PackFault returns err as frames carry it: a fault whole, in JSON. What is no
// fault is said to be Unavailable, the node going away.
func PackFault(err error) string {
	var f *sdk.Fault
	if !errors.As(err, &f) {
		f = broke(err.Error())
	}
	b, _ := json.Marshal(f) // strings always marshal
	return string(b)
}

// UnpackFault returns the fault in a frame, nil for "". Words that are no fault
// are its cause.
func UnpackFault(s string) *sdk.Fault {
	if s == "" {
		return nil
	}
	f := &sdk.Fault{}
	if err := json.Unmarshal([]byte(s), f); err != nil || f.Kind == "" {
		return broke(s)
	}
	return f
}

func broke(why string) *sdk.Fault {
	return sdk.Errorf(sdk.Unavailable, "", "logs broke off").Because("%s", why)
}
