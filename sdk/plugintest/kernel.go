package plugintest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
	"github.com/drupe-os/drupe/sdk/wire"
)

// Epoch is the moment at which every Kernel's clock starts: midnight UTC on
// Monday 2 January 2023.
const Epoch sdk.Time = 1672617600000

// Kernel stands in for the real one, for one framework. It is not safe for
// concurrent use.
type Kernel struct {
	// World is all that is committed. Tests may read it, and may change it
	// before Start.
	World sdk.World

	make     func() framework.Framework
	running  framework.Framework
	queue    []sdk.FrameworkEvent
	lines    []string
	seq      uint64
	index    uint64
	tasks    int
	offers   sdk.OfferID
	holding  bool
	muted    map[string]bool // suppressed demands
	full     map[sdk.TaskID]bool
	refusals int // in this test
}

// NewKernel returns a kernel for the framework that make builds. Nothing is
// called before Start.
func NewKernel(plugin sdk.PluginName, make func() framework.Framework) *Kernel {
	return &Kernel{World: sdk.World{Plugin: plugin, Now: Epoch}, make: make, muted: map[string]bool{}, full: map[sdk.TaskID]bool{}}
}

// Start runs a fresh instance of the framework on the committed World, as after
// an install, a crash or a change of leader. Events not yet handed over come
// after it.
func (k *Kernel) Start() {
	k.running = k.make()
	k.World.Seq = k.seq
	w := clone(&k.World, &sdk.World{})
	c := &framework.Call{Now: k.World.Now}
	k.running.Start(w, c)
	k.commit(c)
	k.settle()
}

// Lines returns what was written down since the last call of Lines: one line
// for each action and log line, "refused: ..." for a batch that was not taken.
func (k *Kernel) Lines() []string {
	out := k.lines
	k.lines = nil
	return out
}

// Hold keeps events back until Deliver, so that several reach the framework in
// one call.
func (k *Kernel) Hold() { k.holding = true }

// Deliver ends Hold.
func (k *Kernel) Deliver() {
	k.holding = false
	k.settle()
}

// Apply declares a document with a JSON body, or changes it. Errors: a body
// that is not JSON.
func (k *Kernel) Apply(ref sdk.Ref, role sdk.RolePath, body []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		return fmt.Errorf("%s: %v", ref, err)
	}
	k.index++
	sum := sha256.Sum256(b.Bytes())
	d := k.Document(ref)
	if d == nil {
		k.World.Documents = append(k.World.Documents, sdk.Document{Ref: ref, Created: k.World.Now, By: "test"})
		d = &k.World.Documents[len(k.World.Documents)-1]
	}
	d.Role, d.Body = role, b.Bytes()
	d.Digest = sdk.Digest("sha256:" + hex.EncodeToString(sum[:]))
	d.Version++
	k.changed(d)
	return nil
}

// SetStopped stops a document or lets it run again. Errors: unknown.
func (k *Kernel) SetStopped(ref sdk.Ref, stopped bool) error {
	d := k.Document(ref)
	if d == nil {
		return fmt.Errorf("no document %s", ref)
	}
	k.index++
	d.Stopped = stopped
	k.changed(d)
	return nil
}

// Remove takes a document away. Errors: unknown.
func (k *Kernel) Remove(ref sdk.Ref) error {
	i := slices.IndexFunc(k.World.Documents, func(d sdk.Document) bool { return d.Ref == ref })
	if i < 0 {
		return fmt.Errorf("no document %s", ref)
	}
	k.World.Documents = slices.Delete(k.World.Documents, i, i+1)
	k.tell(sdk.FrameworkEvent{Removed: &ref})
	return nil
}

// Launch turns up to n of what is demanded by demands with templates into
// tasks, and returns how many. An empty demand name means all of them; n < 0 is
// as many as wanted. What is held back by NotBefore is left.
func (k *Kernel) Launch(demand string, n int64, node sdk.NodeID) int64 {
	var done int64
	var born []*sdk.Task
	for i := range k.World.Demands {
		d := &k.World.Demands[i]
		if d.Template == nil || demand != "" && d.Name != demand || d.NotBefore > k.World.Now {
			continue
		}
		for d.Count > 0 && (n < 0 || done < n) {
			d.Count--
			done++
			born = append(born, k.newTask(d.Ref, d, node, d.Resources, d.Tag, d.Template))
		}
	}
	for _, t := range born {
		k.World.Tasks = append(k.World.Tasks, *t)
		k.queue = append(k.queue, k.event(sdk.FrameworkEvent{Launched: t}))
	}
	k.settle()
	return done
}

// Update changes a task as its node or the kernel would, and tells the
// framework. Errors: unknown task.
func (k *Kernel) Update(id sdk.TaskID, change func(t *sdk.Task)) error {
	t := k.Task(id)
	if t == nil {
		return fmt.Errorf("no task %s", id)
	}
	change(t)
	if t.Status.State >= sdk.Running && t.Status.Started == 0 {
		t.Status.Started = k.World.Now
	}
	if t.Status.State.Terminal() && t.Status.Ended == 0 {
		t.Status.Ended = k.World.Now
	}
	copied := *t
	k.tell(sdk.FrameworkEvent{Updated: &copied})
	return nil
}

// Fill has a task's node refuse to resize it from now on, or with false no
// longer.
func (k *Kernel) Fill(id sdk.TaskID, full bool) { k.full[id] = full }

// Offer offers resources of a node for a demand without template. Errors: no
// such demand, or a suppressed one.
func (k *Kernel) Offer(demand string, node sdk.NodeID, r sdk.Resources) error {
	d := k.demand(demand)
	if d == nil || d.Template != nil || k.muted[demand] {
		return fmt.Errorf("%s does not want offers", demand)
	}
	k.offers++
	o := sdk.Offer{ID: k.offers, Plugin: k.World.Plugin, Demand: demand, Role: d.Role, Node: node,
		NodeName: string(node), Resources: r, Made: k.World.Now, Expires: k.World.Now.Add(2 * sdk.Minute)}
	k.World.Offers = append(k.World.Offers, o)
	k.tell(sdk.FrameworkEvent{Offered: &o})
	return nil
}

// Rescind takes an offer back. Errors: not held.
func (k *Kernel) Rescind(id sdk.OfferID) error {
	if !k.endOffer(id) {
		return fmt.Errorf("offer %d is not held", id)
	}
	k.tell(sdk.FrameworkEvent{Rescinded: &id})
	return nil
}

// Advance moves the clock by d. Each timer that falls due on the way fires at
// its own moment, earliest first.
func (k *Kernel) Advance(d sdk.Duration) {
	end := k.World.Now.Add(d)
	for {
		due := -1
		for i, t := range k.World.Timers {
			if t.At <= end && (due < 0 || t.At < k.World.Timers[due].At) {
				due = i
			}
		}
		if due < 0 {
			break
		}
		t := k.World.Timers[due]
		k.World.Timers = slices.Delete(k.World.Timers, due, due+1)
		k.World.Now = max(k.World.Now, t.At)
		k.tell(sdk.FrameworkEvent{Fired: &t})
	}
	k.World.Now = end
}

// Document returns the document, or nil.
func (k *Kernel) Document(ref sdk.Ref) *sdk.Document {
	return find(k.World.Documents, func(d *sdk.Document) bool { return d.Ref == ref })
}

// Task returns the task, or nil.
func (k *Kernel) Task(id sdk.TaskID) *sdk.Task {
	return find(k.World.Tasks, func(t *sdk.Task) bool { return t.ID == id })
}

func (k *Kernel) demand(name string) *sdk.Demand {
	return find(k.World.Demands, func(d *sdk.Demand) bool { return d.Name == name })
}

func find[T any](list []T, is func(*T) bool) *T {
	for i := range list {
		if is(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

// newTask builds a task in the state in which the kernel commits it.
func (k *Kernel) newTask(ref sdk.Ref, d *sdk.Demand, node sdk.NodeID, r sdk.Resources, tag string, tpl *sdk.Template) *sdk.Task {
	k.tasks++
	id := sdk.TaskID(fmt.Sprintf("%s.%d", ref.Name, k.tasks))
	t := &sdk.Task{ID: id, Ref: ref, Plugin: k.World.Plugin, Demand: d.Name, Tag: tag, Role: d.Role,
		Node: node, Resources: r, Created: k.World.Now, Status: sdk.TaskStatus{Task: id}}
	for i, p := range tpl.Ports {
		port := p.Host
		if port == 0 {
			port = uint16(20000 + 10*k.tasks + i)
		}
		t.Ports = append(t.Ports, sdk.PortBinding{Name: p.Name, Port: port})
	}
	return t
}

// changed tells of a new or changed document.
func (k *Kernel) changed(d *sdk.Document) {
	d.Revision, d.Changed = k.index, k.World.Now
	copied := *d
	k.tell(sdk.FrameworkEvent{Applied: &copied})
}

// tell queues an event and, unless held, hands all that is queued over.
func (k *Kernel) tell(e sdk.FrameworkEvent) {
	k.queue = append(k.queue, k.event(e))
	k.settle()
}

func (k *Kernel) event(e sdk.FrameworkEvent) sdk.FrameworkEvent {
	k.seq++
	e.Seq, e.At = k.seq, k.World.Now
	return e
}

// settle calls the framework until no event is left.
func (k *Kernel) settle() {
	for !k.holding && k.running != nil && len(k.queue) > 0 {
		batch := clone(&sdk.FrameworkCall{Now: k.World.Now, Events: k.queue}, &sdk.FrameworkCall{})
		k.queue = nil
		c := &framework.Call{Now: k.World.Now}
		k.running.Handle(batch.Events, c)
		k.commit(c)
	}
}

// clone sends from through the codec into to, which is returned.
func clone[T wire.Unmarshaler](from wire.Marshaler, to T) T {
	b, err := from.MarshalMsg(nil)
	if err == nil {
		err = wire.Decode(b, to)
	}
	if err != nil {
		panic(fmt.Sprintf("plugintest: the codec does not keep %T whole: %v", from, err))
	}
	return to
}
