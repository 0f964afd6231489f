package agent

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// TestResize: new limits are given to the container that runs. Where they
// cannot be, the task runs on and says so until they are.
func TestResize(t *testing.T) {
	r := newRig(t)
	var refuse atomic.Bool
	r.runtime.FailUpdate = func(id sdk.TaskID, l *isolation.Limits) error {
		if refuse.Load() {
			return sdk.Errorf(sdk.Exhausted, "task/"+string(id), "too little")
		}
		return nil
	}
	r.start()
	id := sdk.TaskID("s.web.0.1")
	sized := func(cpus, mem int64) sdk.Assignment {
		return assignment(id, func(as *sdk.Assignment) { as.Template.Resources = sdk.R(cpus, mem) })
	}
	inForce := func(cpus, mem int64) func() bool {
		return func() bool {
			s, _ := r.runtime.Spec(id)
			return s.Limits.CPUWeight == cpus && s.Limits.Memory == mem
		}
	}
	r.desire(true, sized(500, 64<<20))
	before := r.until(id, sdk.Running)
	r.desire(false, sized(700, 96<<20))
	r.eventually("new limits", inForce(700, 96<<20))
	refuse.Store(true)
	r.desire(false, sized(100, 32<<20))
	st := r.wait(id, func(st sdk.TaskStatus) bool { return st.Message != "" })
	if !strings.HasPrefix(st.Message, "its new limits are not in force: ") || st.State != sdk.Running || st.PID != before.PID || !inForce(700, 96<<20)() {
		t.Fatalf("%+v", st)
	}
	refuse.Store(false)
	r.eventually("the retry", inForce(100, 32<<20))
	said := false
	r.wait(id, func(st sdk.TaskStatus) bool {
		said = said || st.Message != ""
		return said && st.Message == ""
	})
	if n := len(slices.DeleteFunc(r.runtime.Calls(), func(c string) bool { return !strings.HasPrefix(c, "create") })); n != 1 {
		t.Fatalf("%d containers were made", n)
	}
}
