// Package framework is what the author of a framework plugin writes against.
//
// A framework turns documents into demands and follows the tasks that come of
// them. It is called with what happened and answers with what it wants done.
// One call is one transaction: its actions are committed together with the fact
// that its events were consumed, or not at all. A framework that crashes, or
// whose server does, is started again from the committed World, so it must keep
// in memory only what World tells it or what it can work out from that; all else
// belongs into its store.
package framework

import "github.com/drupe-os/drupe/sdk"

// Framework is implemented by a plugin's author. Calls never overlap.
type Framework interface {
	// Start gives a new instance the world. It may act at once.
	Start(w *sdk.World, c *Call)
	// Handle tells what happened since. It must act on all events, not some.
	Handle(events []sdk.FrameworkEvent, c *Call)
}

// Call is one call: the time it carries, and the actions it collects.
type Call struct {
	// Now is the call's time. A plugin has no other clock.
	Now     sdk.Time
	Actions []sdk.Action
	Logs    []string
}

// Demand sets a demand by name. Count is how many launches are still wanted
// when the events of this call have been counted.
func (c *Call) Demand(d sdk.Demand) { c.add(sdk.Action{Demand: &d}) }

// Drop withdraws a demand; its tasks stay.
func (c *Call) Drop(name string) { c.add(sdk.Action{Drop: &sdk.DropDemand{Name: name}}) }

// Kill asks for a task's end.
func (c *Call) Kill(id sdk.TaskID, why sdk.Reason) {
	c.add(sdk.Action{Kill: &sdk.KillTask{Task: id, Reason: why}})
}

// Resize changes what a live task is charged for and bounded by, and marks it.
func (c *Call) Resize(id sdk.TaskID, r sdk.Resources, l sdk.Limits, tag string) {
	c.add(sdk.Action{Resize: &sdk.ResizeTask{Task: id, Resources: r, Limits: l, Tag: tag}})
}

// Forget drops the record of an ended task.
func (c *Call) Forget(id sdk.TaskID) { c.add(sdk.Action{Forget: &sdk.ForgetTask{Task: id}}) }

// Accept launches tasks on an offer.
func (c *Call) Accept(id sdk.OfferID, launches ...sdk.Launch) {
	c.add(sdk.Action{Accept: &sdk.AcceptOffer{Offer: id, Launches: launches}})
}

// Decline gives an offer back and asks not to see its like for a while.
func (c *Call) Decline(id sdk.OfferID, filter sdk.Duration) {
	c.add(sdk.Action{Decline: &sdk.DeclineOffer{Offer: id, Filter: filter}})
}

// Suppress stops offers for a demand.
func (c *Call) Suppress(name string) { c.add(sdk.Action{Suppress: &sdk.SuppressDemand{Name: name}}) }

// Revive undoes Suppress and forgets the demand's declines.
func (c *Call) Revive(name string) { c.add(sdk.Action{Revive: &sdk.ReviveDemand{Name: name}}) }

// Wake sets the timer of that name.
func (c *Call) Wake(name string, at sdk.Time) {
	c.add(sdk.Action{Timer: &sdk.Timer{Name: name, At: at}})
}

// Sleep removes the timer of that name.
func (c *Call) Sleep(name string) { c.add(sdk.Action{Timer: &sdk.Timer{Name: name}}) }

// Put stores a value under a key of the plugin's own; nil removes it.
func (c *Call) Put(key string, value []byte) {
	c.add(sdk.Action{Put: &sdk.KeyValue{Key: key, Value: value}})
}

// Status reports on a document.
func (c *Call) Status(ref sdk.Ref, s sdk.DocumentStatus) {
	c.add(sdk.Action{Status: &sdk.SetStatus{Ref: ref, Status: s}})
}

// Log writes a line to the server's log.
func (c *Call) Log(line string) { c.Logs = append(c.Logs, line) }

func (c *Call) add(a sdk.Action) { c.Actions = append(c.Actions, a) }
