package agent

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// message says in words why the task enters the state of s.
func message(t *task, s plan.Step, now sdk.Time) string {
	switch {
	case s.State == sdk.Killing && s.Reason == sdk.ReasonUnhealthy:
		return t.words
	case s.State == sdk.Running:
		return t.remarks()
	case !s.State.Terminal():
		return ""
	case t.plan.Fault != sdk.ReasonNone && t.plan.Seen != plan.Stopped && s.Reason == t.plan.Fault:
		return t.words
	case t.exit == nil:
		return unseen(s)
	}
	text := ended(t, s)
	if t.plan.State == sdk.Killing {
		text += after(t)
		if s.Reason == sdk.ReasonUnhealthy && t.rec.Status.Message != "" {
			text = t.rec.Status.Message + "; " + text
		}
	}
	return text
}

// unseen is for ends without an exit.
func unseen(s plan.Step) string {
	switch {
	case s.Reason == sdk.ReasonExitUnknown:
		return "its container is gone and nobody saw how it ended; the machine may have restarted"
	case s.State == sdk.Killed:
		return "ended before it ran"
	}
	return ""
}

// ended says how the first process ended.
func ended(t *task, s plan.Step) string {
	e := t.exit
	limit := int64(0)
	pids, disk := int64(1024), int64(0)
	if tm := t.rec.Assignment.Template; tm != nil {
		l := limitsOf(tm)
		limit, disk = l.Memory, l.Disk
		if l.Pids > 0 {
			pids = l.Pids
		}
	}
	var text string
	switch {
	case !e.Known:
		text = "ended while nobody could see how"
	case e.OOM && e.Code != 0:
		text = "reached its memory limit"
		if limit > 0 {
			text += " of " + sdk.FormatBytes(limit)
		}
	case e.Code > 128:
		text = fmt.Sprintf("ended by signal %d (%s)", e.Code-128, unix.SignalName(unix.Signal(e.Code-128)))
	default:
		text = fmt.Sprintf("exited with code %d", e.Code)
	}
	if e.Sidecar != "" {
		text = "its sidecar " + e.Sidecar + " " + text
	}
	return text + notes(e, s, limit, pids, disk)
}

// notes adds what else happened to it.
func notes(e *isolation.Exit, s plan.Step, limit, pids, disk int64) string {
	text := ""
	if e.OOM && e.Code == 0 {
		text += fmt.Sprintf("; a process of it was killed at the memory limit of %s", sdk.FormatBytes(limit))
	}
	if e.PidsHit {
		text += fmt.Sprintf("; it was refused processes at its limit of %d", pids)
	}
	if e.DiskHit {
		text += fmt.Sprintf("; its files reached their limit of %s", sdk.FormatBytes(disk))
	}
	if s.Reason == sdk.ReasonOOM && e.Peak > 0 && e.Peak < limit {
		text += fmt.Sprintf(" (peak %s)", sdk.FormatBytes(e.Peak))
	}
	return text
}

// after says which signals it took.
func after(t *task) string {
	polite := unix.SignalName(unix.Signal(t.stopSignal()))
	switch {
	case t.plan.Termed == 0 && t.plan.Killed == 0:
		return ""
	case t.plan.Killed == 0:
		return " after " + polite
	case t.plan.Termed == 0:
		return " after SIGKILL"
	}
	return fmt.Sprintf("; it ignored %s for %v and was killed", polite, t.plan.Killed.Sub(t.plan.Termed))
}

// stopSignal is the polite signal.
func (t *task) stopSignal() int {
	if t.rec.StopSignal != 0 {
		return int(t.rec.StopSignal)
	}
	return int(unix.SIGTERM)
}
