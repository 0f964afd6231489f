package plugintest

import (
	"fmt"
	"slices"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

// maxRounds bounds how often in a row a framework may be refused, so that one
// that answers every refusal with the same mistake fails instead of hanging.
const maxRounds = 100

// commit carries out all actions of a call, or none of them.
func (k *Kernel) commit(c *framework.Call) {
	for _, l := range c.Logs {
		k.lines = append(k.lines, "log "+l)
	}
	answer := clone(&sdk.FrameworkAnswer{Actions: c.Actions}, &sdk.FrameworkAnswer{})
	before := k.World
	k.World = *clone(&before, &sdk.World{})
	muted := k.muted
	k.muted = map[string]bool{}
	for name := range muted {
		k.muted[name] = true
	}
	var lines []string
	var born []sdk.FrameworkEvent
	for i, a := range answer.Actions {
		lines = append(lines, k.actionLine(&a))
		events, err := k.apply(&a)
		if err != nil {
			k.World, k.muted = before, muted
			msg := fmt.Sprintf("action %d, %s: %v", i, k.actionLine(&a), err)
			k.lines = append(k.lines, "refused: "+msg)
			if k.refusals++; k.refusals > maxRounds {
				panic("plugintest: the framework was refused " + fmt.Sprint(maxRounds) + " times; last: " + msg)
			}
			k.queue = append(k.queue, k.event(sdk.FrameworkEvent{
				Refused: &sdk.RefusedAct{Reason: sdk.ReasonAnswerInvalid, Message: msg}}))
			return
		}
		born = append(born, events...)
	}
	k.lines = append(k.lines, lines...)
	for _, e := range born {
		k.queue = append(k.queue, k.event(e))
	}
}

// apply carries out one action and returns the events that follow from it.
func (k *Kernel) apply(a *sdk.Action) ([]sdk.FrameworkEvent, error) {
	switch {
	case a.Demand != nil:
		return nil, k.setDemand(a.Demand)
	case a.Drop != nil:
		i := slices.IndexFunc(k.World.Demands, func(d sdk.Demand) bool { return d.Name == a.Drop.Name })
		if i < 0 {
			return nil, fmt.Errorf("there is no such demand")
		}
		k.World.Demands = slices.Delete(k.World.Demands, i, i+1)
		delete(k.muted, a.Drop.Name)
	case a.Kill != nil:
		t := k.Task(a.Kill.Task)
		if t == nil {
			return nil, fmt.Errorf("there is no such task")
		}
		if t.Goal == sdk.GoalRun {
			t.Goal, t.GoalReason = sdk.GoalStop, a.Kill.Reason
		}
	case a.Resize != nil:
		return k.resize(a.Resize)
	case a.Forget != nil:
		i := slices.IndexFunc(k.World.Tasks, func(t sdk.Task) bool { return t.ID == a.Forget.Task })
		if i < 0 {
			return nil, fmt.Errorf("there is no such task")
		}
		if !k.World.Tasks[i].Status.State.Terminal() {
			return nil, fmt.Errorf("the task has not ended")
		}
		k.World.Tasks = slices.Delete(k.World.Tasks, i, i+1)
	case a.Accept != nil:
		return k.accept(a.Accept)
	case a.Decline != nil:
		if !k.endOffer(a.Decline.Offer) {
			return nil, fmt.Errorf("the offer is not held")
		}
	case a.Suppress != nil:
		k.muted[a.Suppress.Name] = true
	case a.Revive != nil:
		delete(k.muted, a.Revive.Name)
	case a.Timer != nil:
		k.World.Timers = slices.DeleteFunc(k.World.Timers, func(t sdk.Timer) bool { return t.Name == a.Timer.Name })
		if a.Timer.At != 0 {
			k.World.Timers = append(k.World.Timers, *a.Timer)
		}
	case a.Put != nil:
		k.World.Store = slices.DeleteFunc(k.World.Store, func(e sdk.KeyValue) bool { return e.Key == a.Put.Key })
		if a.Put.Value != nil {
			k.World.Store = append(k.World.Store, *a.Put)
		}
	case a.Status != nil:
		d := k.Document(a.Status.Ref)
		if d == nil {
			return nil, fmt.Errorf("there is no such document")
		}
		d.Status = a.Status.Status
	default:
		return nil, fmt.Errorf("it says nothing")
	}
	return nil, nil
}

// resize changes a task, or notes that its node is full.
func (k *Kernel) resize(a *sdk.ResizeTask) ([]sdk.FrameworkEvent, error) {
	t := k.Task(a.Task)
	if t == nil {
		return nil, fmt.Errorf("there is no such task")
	}
	if _, err := a.Resources.Normal(); err != nil {
		return nil, err
	}
	if t.Goal == sdk.GoalStop || t.Status.State.Terminal() {
		return nil, nil
	}
	if k.full[t.ID] {
		t.Refused = &sdk.RefusedResize{Tag: a.Tag, Reason: sdk.ReasonMem, Message: "its node is full"}
	} else {
		t.Resources, t.Refused = a.Resources, nil
		if a.Tag != "" {
			t.Tag = a.Tag
		}
	}
	copied := *t
	return []sdk.FrameworkEvent{{Updated: &copied}}, nil
}

func (k *Kernel) setDemand(d *sdk.Demand) error {
	switch {
	case d.Name == "":
		return fmt.Errorf("a demand without a name")
	case d.Count < 0:
		return fmt.Errorf("a negative count")
	case k.Document(d.Ref) == nil:
		return fmt.Errorf("there is no document %s", d.Ref)
	}
	if _, err := d.Resources.Normal(); err != nil {
		return err
	}
	if old := k.demand(d.Name); old != nil {
		*old = *d
		return nil
	}
	k.World.Demands = append(k.World.Demands, *d)
	return nil
}

// accept launches tasks on an offer, as far as it reaches.
func (k *Kernel) accept(a *sdk.AcceptOffer) ([]sdk.FrameworkEvent, error) {
	o := find(k.World.Offers, func(o *sdk.Offer) bool { return o.ID == a.Offer })
	if o == nil {
		return nil, fmt.Errorf("the offer is not held")
	}
	offer, left := *o, o.Resources
	d := k.demand(offer.Demand)
	if d == nil {
		return nil, fmt.Errorf("its demand %s is gone", offer.Demand)
	}
	var events []sdk.FrameworkEvent
	for i := range a.Launches {
		l := &a.Launches[i]
		left = left.Minus(l.Template.Resources)
		for _, q := range left {
			if q.Value < 0 {
				return nil, fmt.Errorf("launch %d takes more %s than was offered", i, q.Name)
			}
		}
		d.Count = max(0, d.Count-1)
		t := k.newTask(l.Ref, d, offer.Node, l.Template.Resources, l.Tag, &l.Template)
		k.World.Tasks = append(k.World.Tasks, *t)
		events = append(events, sdk.FrameworkEvent{Launched: t})
	}
	k.endOffer(a.Offer)
	return events, nil
}

func (k *Kernel) endOffer(id sdk.OfferID) bool {
	n := len(k.World.Offers)
	k.World.Offers = slices.DeleteFunc(k.World.Offers, func(o sdk.Offer) bool { return o.ID == id })
	return len(k.World.Offers) < n
}
