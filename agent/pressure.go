package agent

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
)

// AttributeDiskPressure is set to "true" on a node whose disk is too full to
// start tasks.
const AttributeDiskPressure = "disk-pressure"

// Space is how much a file system holds, in bytes.
type Space struct{ Total, Free int64 }

// used returns how full it is, in percent.
func (s Space) used() int {
	if s.Total <= 0 {
		return 0
	}
	return int(100 - s.Free*100/s.Total)
}

// Marks are how full the disk of the data folder may be, in percent.
type Marks struct {
	// Above High, images that nothing uses are removed until Low is reached.
	High, Low int
	// From Full on, no task is started.
	Full int
}

// statfs asks the kernel, and counts as df does: what is kept for root alone
// is no part of the whole.
func statfs(path string) (Space, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Space{}, err
	}
	used, free := int64(s.Blocks-s.Bfree)*s.Bsize, int64(s.Bavail)*s.Bsize
	return Space{used + free, free}, nil
}

// pressure is what the loop keeps about the disk.
type pressure struct {
	busy bool
	full string // why nothing is started; "": it is
}

// relieve looks at the disk, and makes room on it when it must.
func (a *Agent) relieve() {
	if a.pressure.busy {
		return
	}
	a.pressure.busy = true
	inUse := a.imagesInUse()
	m := a.cfg.Disk
	a.ops.wg.Go(func() {
		space, err := a.cfg.Statfs(a.cfg.Dir)
		if err == nil && space.used() > m.High {
			n, rerr := a.cfg.Images.Relieve(inUse, func() bool {
				s, serr := a.cfg.Statfs(a.cfg.Dir)
				return serr != nil || s.used() <= m.Low
			})
			if rerr != nil {
				a.log.Warn("images", "error", rerr)
			} else if n > 0 {
				a.log.Info("the disk is filling up: removed unused layers", "layers", n)
			}
			space, err = a.cfg.Statfs(a.cfg.Dir)
		}
		a.post(func() {
			a.pressure.busy = false
			if err != nil {
				a.log.Warn("disk", "error", err)
				return
			}
			a.pressed(space)
		})
	})
}

// pressed takes how full the disk is.
func (a *Agent) pressed(s Space) {
	was := a.pressure.full
	a.pressure.full = ""
	if s.used() >= a.cfg.Disk.Full {
		a.pressure.full = fmt.Sprintf("the node's disk is %d%% full: %s of %s are free, and from %d%% on nothing is started",
			s.used(), sdk.FormatBytes(s.Free>>20<<20), sdk.FormatBytes(s.Total>>20<<20), a.cfg.Disk.Full)
	}
	if (was == "") == (a.pressure.full == "") {
		return
	}
	if a.pressure.full != "" {
		a.log.Error("disk", "pressure", a.pressure.full)
	} else {
		a.log.Info("disk: there is room again")
	}
	a.up.UpdateMachine(a.machine())
}

// machine is what the servers are told of the machine.
func (a *Agent) machine() sdk.Machine {
	m := a.cfg.Machine
	if a.pressure.full != "" {
		m.Attributes = append(slices.Clone(m.Attributes), sdk.Attribute{Name: AttributeDiskPressure, Value: "true"})
	}
	return m
}

// named finds digests in references to images.
var named = regexp.MustCompile(`@(sha256:[0-9a-f]{64})$`)

// imagesInUse are the digests of all that tasks here run, or are to run.
func (a *Agent) imagesInUse() []sdk.Digest {
	var out []sdk.Digest
	add := func(ref string) {
		if m := named.FindStringSubmatch(ref); m != nil {
			out = append(out, sdk.Digest(m[1]))
		}
	}
	for _, t := range a.tasks {
		if t.rec.Image != "" {
			out = append(out, t.rec.Image)
		}
		out = append(out, t.rec.Sidecars...)
		if tm := t.rec.Assignment.Template; tm != nil {
			if c := tm.Run.Container; c != nil {
				add(c.Image)
			}
			if w := tm.Run.Wasm; w != nil {
				add(w.Module)
			}
			for i := range tm.Sidecars {
				add(tm.Sidecars[i].Container.Image)
			}
		}
	}
	return out
}

// relieveEvery is the wait between two looks at the disk.
const relieveEvery = 10 * time.Second
