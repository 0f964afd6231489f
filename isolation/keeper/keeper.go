package keeper

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/moby/sys/capability"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/isolation/bundle"
	"github.com/drupe-os/drupe/isolation/runc"
	"github.com/drupe-os/drupe/sdk"
)

// ids is the range of host ids that the tasks of a node have as theirs. It
// lies above what Debian gives to people and below what systemd takes.
var ids = bundle.IDRange{First: 300_000, Size: 65_536}

// keeper holds the containers of one state folder.
type keeper struct {
	state, tasksDir, runcDir string
	build, boot, cgroup      string
	parents                  []map[string]string // every cgroup that containers were ever put below
	limiter                  bundle.Limiter
	capabilities             map[string]bool // the machine's own root's
	appArmor                 string          // profile for tasks that the machine has; "": none
	roots                    *roots
	diskBy, mkfs             string // how disks are limited
	degraded                 []string
	exits                    *watcher
	mounts                   atomic.Uint64
	master                   *master
	warm                     *pool

	ending   chan struct{}  // closed when sessions have to end
	children sync.WaitGroup // of sessions

	mu     sync.Mutex
	tasks  map[sdk.TaskID]*task // nil while being created
	notify map[chan sdk.TaskID]bool
}

func newKeeper(o options, exits *watcher) (*keeper, error) {
	k := &keeper{
		state: o.state, tasksDir: filepath.Join(o.state, "tasks"), runcDir: filepath.Join(o.state, "runc"),
		build: o.build, boot: bootID(), cgroup: o.cgroup,
		exits: exits, master: newMaster(exits), tasks: map[sdk.TaskID]*task{}, notify: map[chan sdk.TaskID]bool{},
		ending: make(chan struct{}),
	}
	// Names of mounts are not used again by the next keeper: the containers of
	// this one refer to theirs.
	k.mounts.Store(uint64(time.Now().UnixNano()))
	for _, dir := range []string{k.tasksDir, k.runcDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	parent, err := cgroupPaths(k.cgroup)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	if err := k.rememberParent(parent); err != nil {
		return nil, err
	}
	if _, err := makeCgroup(k.cgroup); err != nil {
		return nil, err
	}
	k.warm = newPool(k)
	k.limiter = limiter(o.state, "/sys", parent)
	if !k.limiter.LimitsSwap {
		k.degraded = append(k.degraded, "memory limits do not cover swap: the kernel does not count it")
	}
	k.capabilities = ownCapabilities()
	k.appArmor = appArmorProfile()
	sum := sha256.Sum256([]byte(o.state))
	k.roots = &roots{dir: "/run/drupe-" + hex.EncodeToString(sum[:6])}
	if err := os.MkdirAll(k.roots.dir, 0o711); err != nil {
		return nil, err
	}
	k.roots.sweep()
	k.userNamespaces(o.noUser)
	k.diskMechanism(o.diskPoll)
	return k, nil
}

// userNamespaces turns them on where the machine can do them.
func (k *keeper) userNamespaces(off bool) {
	if off {
		k.degraded = append(k.degraded, "tasks have the host's user ids: turned off by the operator")
		return
	}
	ns, err := userNamespace(ids)
	if err == nil {
		k.roots.ns, k.roots.ids = ns, ids
		if err = k.probe(); err == nil {
			return
		}
		ns.Close()
	}
	k.roots.ns, k.roots.ids = nil, bundle.IDRange{}
	k.degraded = append(k.degraded, fmt.Sprintf("tasks have the host's user ids: %v", err))
	logf("no user namespaces: %v", err)
}

// probe tries a root file system as containers get them.
func (k *keeper) probe() error {
	dir, err := os.MkdirTemp(k.state, "probe-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	layer := filepath.Join(dir, "layer")
	if err := os.Mkdir(layer, 0o755); err != nil {
		return err
	}
	defer k.roots.unmount("probe")
	_, err = k.roots.mount("probe", dir, &isolation.Program{Layers: []string{layer}}, shift{k.roots.ids, k.roots.ns})
	return err
}

// rememberParent keeps the list of cgroups to remove in the end. It changes
// when a keeper is started from another cgroup than the one before.
func (k *keeper) rememberParent(parent map[string]string) error {
	file := filepath.Join(k.state, "cgroups.json")
	if err := readJSON(file, &k.parents); err != nil && !errors.Is(err, os.ErrNotExist) {
		logf("%s: %v", file, err)
	}
	for _, p := range k.parents {
		if fmt.Sprint(p) == fmt.Sprint(parent) {
			return nil
		}
	}
	k.parents = append(k.parents, parent)
	return writeJSON(file, k.parents)
}

func (k *keeper) info() runc.Info {
	return runc.Info{
		Protocol: runc.Protocol, PID: os.Getpid(), Build: k.build, Runc: runcVersion(),
		UserNamespaces: k.roots.ns != nil, DiskLimit: k.diskBy, Degraded: k.degraded,
	}
}

// reserve takes the id for a container that is about to be made.
func (k *keeper) reserve(t *task) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, taken := k.tasks[t.id]; taken {
		return sdk.Errorf(sdk.Conflict, "task/"+string(t.id), "has a container already").
			ToFix("remove that first; a task's id is never used twice")
	}
	k.tasks[t.id] = nil
	return nil
}

func (k *keeper) publish(t *task) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tasks[t.id] = t
}

func (k *keeper) forget(id sdk.TaskID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.tasks, id)
}

// task returns a container. Errors: NotFound.
func (k *keeper) task(id sdk.TaskID) (*task, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.tasks[id]; t != nil {
		return t, nil
	}
	return nil, sdk.Errorf(sdk.NotFound, "task/"+string(id), "has no container here")
}

func (k *keeper) all() []*task {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]*task, 0, len(k.tasks))
	for _, t := range k.tasks {
		if t != nil {
			list = append(list, t)
		}
	}
	slices.SortFunc(list, func(a, b *task) int { return strings.Compare(string(a.id), string(b.id)) })
	return list
}

func (k *keeper) list() []isolation.Container {
	list := []isolation.Container{}
	for _, t := range k.all() {
		list = append(list, t.container())
	}
	return list
}

// start executes the program of a created container.
func (k *keeper) start(id sdk.TaskID) error {
	t, err := k.task(id)
	if err != nil {
		return err
	}
	switch t.container().State {
	case isolation.Running:
		return sdk.Errorf(sdk.Conflict, "task/"+string(id), "is started already")
	case isolation.Stopped:
		return &isolation.Error{Reason: sdk.ReasonStartFailed, Err: gone(id)}
	}
	// The record first: a container that runs without one would be started a
	// second time by whoever reads it.
	t.mu.Lock()
	t.rec.Started = now()
	err = t.saveRecord()
	if err != nil {
		t.rec.Started = 0
	}
	t.mu.Unlock()
	if err != nil {
		return explain(id, err)
	}
	if err := t.startSidecars(); err != nil {
		return explain(id, err)
	}
	if err := t.execute(); err != nil {
		return explain(id, err)
	}
	t.begun()
	return nil
}

// remove deletes a container that does not run.
func (k *keeper) remove(id sdk.TaskID) error {
	t, err := k.task(id)
	if err != nil {
		return nil // what is not there is removed
	}
	switch t.container().State {
	case isolation.Running:
		return sdk.Errorf(sdk.Conflict, "task/"+string(id), "runs").ToFix("kill it first")
	case isolation.Created:
		t.kill()
	}
	if err := t.remove(); err != nil {
		return err
	}
	k.forget(id)
	return nil
}

// usage measures the containers that run: those named, or all.
func (k *keeper) usage(ids []sdk.TaskID) []sdk.Usage {
	list := []sdk.Usage{}
	for _, t := range k.all() {
		if len(ids) > 0 && !slices.Contains(ids, t.id) || t.container().State != isolation.Running {
			continue
		}
		u := usage(t.rec.Cgroups)
		u.Task, u.At = t.id, now()
		u.Disk, _ = t.room.measure()
		list = append(list, u)
	}
	return list
}

// subscribe returns a channel that gets every exit from now on. It is closed
// when its reader is too far behind to be told everything.
func (k *keeper) subscribe() chan sdk.TaskID {
	c := make(chan sdk.TaskID, 4096)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.notify[c] = true
	return c
}

func (k *keeper) unsubscribe(c chan sdk.TaskID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.notify[c] {
		delete(k.notify, c)
		close(c)
	}
}

func (k *keeper) tell(id sdk.TaskID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.notify {
		select {
		case c <- id:
		default:
			delete(k.notify, c)
			close(c)
		}
	}
}

// suspend leaves the containers to the next keeper. Sessions end: what runs in
// one has no end without its client.
func (k *keeper) suspend() {
	close(k.ending)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.children.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(farewell): // one that cannot even be killed
	}
	for _, t := range k.all() {
		if !t.stopped() {
			if _, ended := zombieStatus(t.own.trace.PID); ended && t.own.proc != nil {
				select {
				case <-t.closed: // nobody after us can ask how it ended
				case <-time.After(farewell):
				}
				continue
			}
			for _, p := range t.programs() {
				if p.out != nil {
					p.out.suspend()
				}
			}
		}
	}
}

// destroy kills every container and removes all that was ever made for them,
// logs excepted.
func (k *keeper) destroy() {
	close(k.ending)
	var wg sync.WaitGroup
	for _, t := range k.all() {
		wg.Go(func() {
			t.kill()
			if err := t.remove(); err != nil {
				logf("%v", err)
			}
		})
	}
	wg.Wait()
	k.roots.sweep()
	os.Remove(k.roots.dir)
	for _, p := range k.parents {
		if err := removeCgroups(p); err != nil {
			logf("%v", err)
		}
	}
	for _, name := range []string{k.tasksDir, k.runcDir, filepath.Join(k.state, "cgroups.json")} {
		os.RemoveAll(name)
	}
}

func ownCapabilities() map[string]bool {
	held := map[string]bool{}
	caps, err := capability.NewPid2(0)
	if err == nil {
		err = caps.Load()
	}
	if err != nil {
		logf("own capabilities: %v", err)
		return held
	}
	for _, c := range capability.ListKnown() {
		if caps.Get(capability.PERMITTED, c) && caps.Get(capability.BOUNDING, c) {
			held[strings.ToUpper(c.String())] = true
		}
	}
	return held
}
