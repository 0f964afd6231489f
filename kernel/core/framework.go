package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// framework is what the state keeps for one framework plugin: what it has yet
// to be told, and what it asked to have kept.
type framework struct {
	name   sdk.PluginName
	seq    uint64 // of the newest event
	inbox  []sdk.FrameworkEvent
	store  map[string][]byte
	timers map[string]sdk.Time
	held   []sdk.Action // of an answer whose last part is yet to come
	parts  uint32       // of it, so far
}

// inboxLimit bounds what waits for a framework that cannot be called. Beyond,
// its oldest events are dropped: a fresh instance learns all that matters from
// the World.
const inboxLimit = 1 << 20

// inform tells the owner of a kind of document what happened.
func (s *State) inform(kind string, e sdk.FrameworkEvent) { s.informPlugin(s.kinds[kind], e) }

// informPlugin puts an event into a framework's inbox.
func (s *State) informPlugin(name sdk.PluginName, e sdk.FrameworkEvent) {
	f := s.frameworks[name]
	if f == nil {
		return
	}
	f.seq++
	e.Seq, e.At = f.seq, s.now
	if len(f.inbox) >= inboxLimit {
		f.inbox = slices.Delete(f.inbox, 0, inboxLimit/2)
	}
	f.inbox = append(f.inbox, e)
}

// Inbox returns the events a framework has not consumed, at most max of them,
// oldest first. The slice must not be changed.
func (s *State) Inbox(name sdk.PluginName, max int) []sdk.FrameworkEvent {
	f := s.frameworks[name]
	if f == nil {
		return nil
	}
	return f.inbox[:min(len(f.inbox), max)]
}

// NewestEvent returns the Seq of the newest event told to a framework.
func (s *State) NewestEvent(name sdk.PluginName) uint64 {
	if f := s.frameworks[name]; f != nil {
		return f.seq
	}
	return 0
}

// Frameworks returns the names of the frameworks that may be called, sorted.
func (s *State) Frameworks() []sdk.PluginName {
	var out []sdk.PluginName
	for name := range s.frameworks {
		if p := s.plugins[name]; p != nil && !p.Quarantined {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// unseen counts the launches of a demand that a framework does not know of when
// it knows its events up to a number.
func (s *State) unseen(plugin sdk.PluginName, demand string, seen uint64) int64 {
	f := s.frameworks[plugin]
	if f == nil {
		return 0
	}
	var n int64
	for i := len(f.inbox) - 1; i >= 0 && f.inbox[i].Seq > seen; i-- {
		if t := f.inbox[i].Launched; t != nil && t.Demand == demand {
			n++
		}
	}
	return n
}

// commitFramework applies one call of a framework: its cursor and all its
// actions, or of the actions nothing but the news that they were refused.
func (s *State) commitFramework(c *FrameworkCommit) *sdk.Fault {
	p, f := s.plugins[c.Plugin], s.frameworks[c.Plugin]
	if p == nil || f == nil {
		return sdk.Errorf(sdk.NotFound, "plugin/"+string(c.Plugin), "is not installed")
	}
	if c.Generation != p.Generation || p.Quarantined {
		return sdk.Errorf(sdk.Conflict, "plugin/"+string(c.Plugin), "generation %d is no longer the installed one", c.Generation)
	}
	actions, whole, fault := f.gather(c)
	if fault != nil || !whole {
		return fault
	}
	for i := range actions {
		if fault := s.checkAction(p, &actions[i]); fault != nil {
			f.consume(c.Consumed)
			s.reject(&RejectPlugin{Plugin: c.Plugin, Generation: c.Generation, Reason: reasonFor(fault), Message: fault.Error()})
			s.informPlugin(c.Plugin, sdk.FrameworkEvent{Refused: &sdk.RefusedAct{Reason: reasonFor(fault), Message: fault.Error()}})
			return fault
		}
	}
	for i := range actions {
		s.act(f, &actions[i], max(c.Seen, c.Consumed))
	}
	f.consume(c.Consumed)
	return nil
}

// gather joins the parts of an answer. Whole is false until the last of them.
func (f *framework) gather(c *FrameworkCommit) (actions []sdk.Action, whole bool, fault *sdk.Fault) {
	if c.Part == 0 { // what an earlier leader did not bring to an end is void
		f.held, f.parts = nil, 0
	}
	if c.Part != f.parts {
		return nil, false, sdk.Errorf(sdk.Conflict, "plugin/"+string(f.name), "part %d of an answer came where part %d belongs", c.Part, f.parts)
	}
	actions = append(f.held, c.Actions...)
	if c.More {
		f.held, f.parts = actions, f.parts+1
		return nil, false, nil
	}
	f.held, f.parts = nil, 0
	return actions, true, nil
}

// consume drops the events up to a number.
func (f *framework) consume(seq uint64) {
	n := 0
	for n < len(f.inbox) && f.inbox[n].Seq <= seq {
		n++
	}
	f.inbox = slices.Delete(f.inbox, 0, n)
}

// reasonFor names the reason a batch of actions was refused for.
func reasonFor(f *sdk.Fault) sdk.Reason {
	switch f.Kind {
	case sdk.Denied:
		return sdk.ReasonNotGranted
	case sdk.Conflict:
		return sdk.ReasonNotOffered
	}
	return sdk.ReasonAnswerInvalid
}

// maxKey and maxValue bound one entry of a plugin's store, maxStore all of them.
const (
	maxKey   = 1 << 10
	maxValue = 64 << 10
	maxStore = 100_000
)

// checkAction proves that a framework may do what it asks, before anything of
// the batch is done.
func (s *State) checkAction(p *sdk.Plugin, a *sdk.Action) *sdk.Fault {
	name := p.Manifest.Name
	subject := string(name)
	own := func(id sdk.TaskID) *sdk.Fault {
		if t := s.lookup(id); t == nil || t.group.plugin != name {
			return sdk.Errorf(sdk.Denied, subject, "task %s is not its own", id)
		}
		return nil
	}
	switch {
	case a.Demand != nil:
		return s.checkDemand(p, a.Demand)
	case a.Kill != nil:
		return own(a.Kill.Task)
	case a.Resize != nil:
		if f := own(a.Resize.Task); f != nil {
			return f
		}
		return checkResize(subject, a.Resize)
	case a.Forget != nil:
		if f := own(a.Forget.Task); f != nil {
			return f
		}
		if !s.lookup(a.Forget.Task).state.Terminal() {
			return sdk.Errorf(sdk.Invalid, subject, "task %s has not ended and cannot be forgotten", a.Forget.Task)
		}
	case a.Accept != nil:
		return s.checkAccept(p, a.Accept)
	case a.Decline != nil:
		// An offer that is over was rescinded: the news is on its way.
		if o := s.offers[a.Decline.Offer]; o != nil && o.Plugin != name {
			return sdk.Errorf(sdk.Conflict, subject, "offer %d is not its own", a.Decline.Offer)
		}
	case a.Put != nil:
		f := s.frameworks[name]
		if a.Put.Key == "" || len(a.Put.Key) > maxKey || len(a.Put.Value) > maxValue || len(f.store) >= maxStore && f.store[a.Put.Key] == nil {
			return sdk.Errorf(sdk.TooLarge, subject, "key %.40q: a key has 1 to %d bytes, a value at most %d, a store at most %d keys",
				a.Put.Key, maxKey, maxValue, maxStore)
		}
	case a.Timer != nil:
		if a.Timer.Name == "" || len(a.Timer.Name) > maxKey {
			return sdk.Errorf(sdk.Invalid, subject, "a timer's name has 1 to %d bytes", maxKey)
		}
	case a.Status != nil:
		if s.kinds[a.Status.Ref.Kind] != name {
			return sdk.Errorf(sdk.Denied, subject, "document %s is not its own", a.Status.Ref)
		}
	case a.Drop != nil, a.Suppress != nil, a.Revive != nil:
	default:
		return sdk.Errorf(sdk.Invalid, subject, "an action that asks for nothing")
	}
	return nil
}

// act does one checked action. What has become pointless since is passed over.
func (s *State) act(f *framework, a *sdk.Action, seen uint64) {
	switch {
	case a.Demand != nil:
		s.setDemand(f.name, a.Demand, s.unseen(f.name, a.Demand.Name, seen))
	case a.Drop != nil:
		s.dropDemand(f.name, a.Drop.Name)
	case a.Kill != nil:
		s.killTask(a.Kill.Task, a.Kill.Reason, a.Kill.Grace)
	case a.Resize != nil:
		s.resize(a.Resize)
	case a.Forget != nil:
		if t := s.lookup(a.Forget.Task); t != nil {
			s.forget(t)
		}
	case a.Accept != nil:
		s.accept(a.Accept)
	case a.Decline != nil:
		s.decline(a.Decline)
	case a.Suppress != nil:
		if d := s.demandBy[demandKey{f.name, a.Suppress.Name}]; d != nil {
			d.suppressed = true
		}
	case a.Revive != nil:
		if d := s.demandBy[demandKey{f.name, a.Revive.Name}]; d != nil {
			d.suppressed = false
			s.book.Revive(d.shape.Key, d.Name)
			s.changes.Room = true
		}
	case a.Timer != nil:
		delete(f.timers, a.Timer.Name)
		if a.Timer.At != 0 {
			f.timers[a.Timer.Name] = a.Timer.At
			s.wakeAt(a.Timer.At)
		}
	case a.Put != nil:
		delete(f.store, a.Put.Key)
		if a.Put.Value != nil {
			f.store[a.Put.Key] = a.Put.Value
		}
	case a.Status != nil:
		s.setStatus(a.Status)
	}
}

// setStatus takes in what a plugin reports of a document.
func (s *State) setStatus(a *sdk.SetStatus) {
	d := s.documents[a.Ref]
	if d == nil || d.Status == a.Status {
		return
	}
	d.Status = a.Status
	s.tellDocument(sdk.EventDocumentStatus, "", d)
}

// fireTimers tells frameworks of the timers that have come due.
func (s *State) fireTimers() {
	for _, name := range s.frameworkNames() {
		f := s.frameworks[name]
		for _, t := range f.sortedTimers() {
			if t.At <= s.now {
				delete(f.timers, t.Name)
				s.informPlugin(name, sdk.FrameworkEvent{Fired: &t})
			}
		}
	}
}

func (s *State) frameworkNames() []sdk.PluginName {
	out := make([]sdk.PluginName, 0, len(s.frameworks))
	for name := range s.frameworks {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// sortedTimers returns the timers by time and name.
func (f *framework) sortedTimers() []sdk.Timer {
	out := make([]sdk.Timer, 0, len(f.timers))
	for name, at := range f.timers {
		out = append(out, sdk.Timer{Name: name, At: at})
	}
	slices.SortFunc(out, func(a, b sdk.Timer) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Name, b.Name))
	})
	return out
}

func (f *framework) sortedStore() []sdk.KeyValue {
	out := make([]sdk.KeyValue, 0, len(f.store))
	for k, v := range f.store {
		out = append(out, sdk.KeyValue{Key: k, Value: v})
	}
	slices.SortFunc(out, func(a, b sdk.KeyValue) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// World returns what a fresh instance of a framework must know.
func (s *State) World(name sdk.PluginName) *sdk.World {
	f := s.frameworks[name]
	if f == nil {
		return nil
	}
	w := &sdk.World{Plugin: name, Now: s.now, Store: f.sortedStore(), Timers: f.sortedTimers(), Seq: f.seq}
	for _, d := range s.sortedDocuments() {
		if s.kinds[d.Ref.Kind] == name {
			w.Documents = append(w.Documents, *copyDocument(d))
		}
	}
	for _, d := range s.demands {
		if d.plugin == name {
			w.Demands = append(w.Demands, d.Demand)
		}
	}
	for _, t := range s.sortedTasks() {
		if t.group.plugin == name {
			w.Tasks = append(w.Tasks, t.view())
		}
	}
	for _, o := range s.sortedOffers() {
		if o.Plugin == name {
			w.Offers = append(w.Offers, o.Offer)
		}
	}
	return w
}
