package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/bundle"
	"github.com/drupe-os/drupe/sdk"
)

// bound makes the cgroup of a task, or of a program of it, and sets its limits,
// before any process is in it.
func (k *keeper) bound(id sdk.TaskID, name string, l *isolation.Limits) error {
	list, err := bundle.Settings(id, l, k.limiter)
	if err != nil {
		return err
	}
	paths, err := makeCgroup(name)
	if err != nil {
		return err
	}
	if err := write(paths, slices.DeleteFunc(list, func(s bundle.Setting) bool { return s.Fresh })); err != nil {
		return &isolation.Error{Reason: sdk.ReasonUnsupported, Err: sdk.Errorf(sdk.Unsupported, "task/"+string(id),
			"cannot be limited as asked").Because("%v", err)}
	}
	return nil
}

// update changes the limits of a container: all of them, or none.
func (k *keeper) update(id sdk.TaskID, l *isolation.Limits) error {
	t, err := k.task(id)
	if err != nil {
		return err
	}
	t.changing.Lock()
	defer t.changing.Unlock()
	if t.stopped() {
		return gone(id)
	}
	t.mu.Lock()
	before := t.rec.Spec
	t.mu.Unlock()
	after := *before
	after.Limits = *l
	after.Limits.Disk, after.Limits.Rlimits = before.Limits.Disk, before.Limits.Rlimits
	want, err := bundle.Settings(id, &after.Limits, k.limiter)
	if err != nil {
		return err
	}
	if err := fits(id, t.rec.Cgroups, l); err != nil {
		return err
	}
	if err = write(t.rec.Cgroups, want); err == nil {
		if err = t.respec(&after); err == nil {
			k.protect()
			return nil
		}
	}
	if back, berr := bundle.Settings(id, &before.Limits, k.limiter); berr == nil {
		if berr = write(t.rec.Cgroups, back); berr != nil && !t.stopped() {
			logf("%s: its limits before cannot be set again: %v", id, berr)
		}
	}
	switch {
	case t.stopped(), errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENODEV):
		return gone(id)
	case errors.Is(err, syscall.EBUSY):
		return tooMuch(id, l.Memory, memoryHeld(t.rec.Cgroups))
	}
	return sdk.Errorf(sdk.Invalid, "task/"+string(id), "its limits cannot be changed; they are as before").Because("%v", err)
}

// respec makes the specification that of the task, and keeps it.
func (t *task) respec(s *isolation.Spec) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.rec.Spec
	t.rec.Spec = s
	err := t.saveRecord()
	if err != nil {
		t.rec.Spec = before
	}
	return err
}

// fits refuses a memory limit below what the task holds: version 2 would
// answer it by killing.
func fits(id sdk.TaskID, paths map[string]string, l *isolation.Limits) error {
	if held := memoryHeld(paths); l.Memory > 0 && held > l.Memory+l.Swap {
		return tooMuch(id, l.Memory, held)
	}
	return nil
}

func tooMuch(id sdk.TaskID, limit, held int64) error {
	return sdk.Errorf(sdk.Exhausted, "task/"+string(id), "its memory limit cannot be lowered to %s; its limits are as before",
		sdk.FormatBytes(limit)).Because("it holds %s that the kernel cannot take back", sdk.FormatBytes(held)).
		ToFix("choose a limit above that, or replace the task")
}

// write sets the values of a cgroup. What is refused is tried again after the
// rest, for as long as that helps: a limit of memory and swap together can be
// lowered only after that of memory, and raised only before it.
func write(paths map[string]string, list []bundle.Setting) error {
	type job struct{ dir, file, value string }
	var jobs []job
	for _, s := range list {
		dir := folder(paths, s.Controller)
		switch _, err := os.Stat(filepath.Join(dir, s.File)); {
		case err == nil && dir != "":
			jobs = append(jobs, job{dir, s.File, s.Value})
		case s.Fresh:
		case dir == "":
			return fmt.Errorf("%s: the kernel has no controller for it", s.File)
		default:
			return err
		}
	}
	// The programs of a task with sidecars have cgroups of their own below the
	// task's. Version 1 wants cores in the upper one first when there are more,
	// and in the lower ones first when there are fewer.
	for _, s := range list {
		if dir, v1 := paths[s.Controller]; v1 && s.Controller == "cpuset" {
			for _, sub := range below(dir) {
				jobs = append(jobs, job{sub, s.File, s.Value})
			}
		}
	}
	for len(jobs) > 0 {
		var failed []job
		var errs []error
		for _, j := range jobs {
			if err := os.WriteFile(filepath.Join(j.dir, j.file), []byte(j.value+"\n"), 0); err != nil {
				failed = append(failed, j)
				errs = append(errs, fmt.Errorf("%s = %s: %w", j.file, j.value, errors.Unwrap(err)))
			}
		}
		if len(failed) == len(jobs) {
			return errors.Join(errs...)
		}
		jobs = failed
	}
	return nil
}

// below returns the cgroups directly in one.
func below(dir string) (list []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list
}

// protect gives the cgroup of all tasks together what each of them keeps when
// memory is short: on version 2 none has more than what is above it.
func (k *keeper) protect() {
	if !k.limiter.Unified {
		return
	}
	var sum int64
	for _, t := range k.all() {
		t.mu.Lock()
		if t.exit == nil {
			sum += t.rec.Spec.Limits.Reservation
		}
		t.mu.Unlock()
	}
	dir := folder(k.parents[len(k.parents)-1], "memory")
	if err := os.WriteFile(filepath.Join(dir, "memory.low"), []byte(fmt.Sprint(sum)), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		logf("memory.low: %v", err)
	}
}
