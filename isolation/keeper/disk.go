package keeper

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How a task's own files are bounded on this machine.
const (
	diskByLoop = "loop" // exactly: what is too much is refused
	diskByPoll = "poll" // looked at now and then: what has too much is ended
)

// room is where a container's own files are, and what they take.
type room struct {
	limit int64 // 0: none
	// handle is on the file system that is theirs alone; nil: they lie in the
	// container's folder.
	handle *os.File

	mu    sync.Mutex
	used  int64     // last seen, without a handle
	hit   bool      // ended for having too much
	after time.Time // when to look again
}

// makeRoom returns the folder in which a container's own files are to be made.
// With a limit it is mounted below the place of that name, which the caller
// unmounts.
func (k *keeper) makeRoom(t *task, name string) (dir string, err error) {
	t.room = &room{limit: t.rec.Spec.Limits.Disk}
	if t.room.limit <= 0 || k.diskBy != diskByLoop {
		return t.dir, nil
	}
	at := filepath.Join(k.roots.dir, name, diskMount)
	if err := mountLoop(k.mkfs, t.dir, at, t.room.limit); err != nil {
		return "", fmt.Errorf("disk of %d bytes: %w", t.room.limit, err)
	}
	if t.room.handle, err = os.OpenFile(at, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
		return "", err
	}
	t.rec.Loop = true
	return at, nil
}

// adoptRoom finds the room of a container that another keeper made.
func adoptRoom(t *task) {
	t.room = &room{limit: t.rec.Spec.Limits.Disk}
	if !t.rec.Loop {
		return
	}
	// The root's overlay tells what there is below it.
	root, err := os.OpenFile(pidDir(t.rec.PID, "root"), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		logf("%s: its disk: %v", t.id, err)
		return
	}
	t.room.handle = root
}

// fit leaves as much free as the limit says, in the room's mount.
func (r *room) fit(dir string) error {
	if r.handle == nil {
		return nil
	}
	return fit(dir, r.limit)
}

// nearlyFull is how little is free in a room in which something was refused:
// the kernel takes or refuses what is written by the page of its cache, and
// those can be large.
const nearlyFull = 256 << 10

// measure returns what the files take, and whether that is all there may be.
func (r *room) measure() (used int64, hit bool) {
	if r == nil {
		return 0, false
	}
	if r.handle != nil {
		free, err := available(int(r.handle.Fd()))
		if err != nil {
			return 0, false
		}
		return max(r.limit-free, 0), free < min(nearlyFull, max(r.limit/16, 4096))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used, r.hit
}

// close lets go of the file system.
func (r *room) close() {
	if r != nil && r.handle != nil {
		r.handle.Close()
	}
}

// diskMechanism decides how tasks' files are bounded, by trying it out.
func (k *keeper) diskMechanism(byPoll bool) {
	k.diskBy = diskByPoll
	var err error
	if !byPoll {
		if k.mkfs, err = mkfsPath(); err == nil {
			if err = k.tryLoop(); err == nil {
				k.diskBy = diskByLoop
				return
			}
		}
	}
	why := "turned off by the operator"
	if err != nil {
		why = err.Error()
		logf("no disk limits by loop devices: %v", err)
	}
	k.degraded = append(k.degraded, "disk limits are enforced by looking now and then, and ending what took too much: "+why)
}

func (k *keeper) tryLoop() error {
	defer k.roots.unmount("probe-disk")
	at := filepath.Join(k.roots.dir, "probe-disk", diskMount)
	if err := mountLoop(k.mkfs, k.state, at, 1<<20); err != nil {
		return err
	}
	return fit(at, 1<<20)
}

// How often files are looked at that have no file system of their own: with a
// limit, and without one, where it is for the figure only. Looking takes at most
// a twentieth of the time.
const (
	lookOften  = 2 * time.Second
	lookSeldom = 30 * time.Second
	lookShare  = 20
)

// watchDisks looks at containers' files for as long as the keeper lives, and
// ends those whose files are too many.
func (k *keeper) watchDisks() {
	tick := time.NewTicker(lookOften)
	defer tick.Stop()
	for now := range tick.C {
		for _, t := range k.all() {
			r := t.room
			if r == nil || r.handle != nil || now.Before(r.after) || t.stopped() {
				continue
			}
			begun := time.Now()
			used := diskUsed(t.dir)
			wait := lookSeldom
			if r.limit > 0 {
				wait = lookOften / 2
			}
			r.after = time.Now().Add(max(wait, lookShare*time.Since(begun)))
			over := r.limit > 0 && used > r.limit
			r.mu.Lock()
			r.used, r.hit = used, r.hit || over
			r.mu.Unlock()
			if over {
				logf("%s: has %d bytes on disk, more than %d: ended", t.id, used, r.limit)
				t.signal(int(unix.SIGKILL), true)
			}
		}
	}
}

// diskUsed adds up what the files in a folder take on the disk. Those that have
// several names are counted once.
func diskUsed(dir string) int64 {
	var sum int64
	seen := map[uint64]bool{}
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // it went away meanwhile
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Nlink > 1 && !d.IsDir() && seen[st.Ino] {
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			seen[st.Ino] = true
		}
		sum += st.Blocks * 512
		return nil
	})
	return sum
}
