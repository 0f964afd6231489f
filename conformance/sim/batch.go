package sim

import (
	"fmt"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
	"github.com/drupe-os/drupe/sdk/framework"
)

// BatchPlugin declares the simulator's own framework, which takes real offers:
// kind "batch", as many tasks at a time as a service has instances, each on an
// offer it accepts or, every third time, declines.
var BatchPlugin = sdk.Plugin{Digest: "sha256:batch", Manifest: sdk.Manifest{Name: "batch", Point: sdk.PointFramework,
	Kinds: []string{"batch"}, Roles: []sdk.RolePath{""}}}

// batch is that framework. It works from what it knows of the world alone.
type batch struct {
	docs   map[sdk.Ref]*sdk.Document
	tasks  map[sdk.TaskID]*sdk.Task
	offers map[sdk.OfferID]*sdk.Offer
}

// NewBatch makes an instance.
func NewBatch() framework.Framework { return &batch{} }

// Start implements framework.Framework.
func (b *batch) Start(w *sdk.World, c *framework.Call) {
	b.docs, b.tasks, b.offers = map[sdk.Ref]*sdk.Document{}, map[sdk.TaskID]*sdk.Task{}, map[sdk.OfferID]*sdk.Offer{}
	for i := range w.Documents {
		b.docs[w.Documents[i].Ref] = &w.Documents[i]
	}
	for i := range w.Tasks {
		b.tasks[w.Tasks[i].ID] = &w.Tasks[i]
	}
	for i := range w.Offers {
		b.offers[w.Offers[i].ID] = &w.Offers[i]
	}
	b.act(c)
}

// Handle implements framework.Framework.
func (b *batch) Handle(events []sdk.FrameworkEvent, c *framework.Call) {
	for i := range events {
		switch e := &events[i]; {
		case e.Applied != nil:
			b.docs[e.Applied.Ref] = e.Applied
		case e.Removed != nil:
			delete(b.docs, *e.Removed)
			c.Drop(e.Removed.Name)
		case e.Launched != nil:
			if b.tasks[e.Launched.ID] == nil {
				b.tasks[e.Launched.ID] = e.Launched
			}
		case e.Updated != nil:
			b.tasks[e.Updated.ID] = e.Updated
		case e.Offered != nil:
			b.offers[e.Offered.ID] = e.Offered
		case e.Rescinded != nil:
			delete(b.offers, *e.Rescinded)
		}
	}
	b.act(c)
}

// act answers offers, keeps the right number of tasks, and asks for more offers
// where tasks are missing.
func (b *batch) act(c *framework.Call) {
	live := map[sdk.Ref]int64{}
	for _, id := range sortedIDs(b.tasks) {
		t := b.tasks[id]
		if t.Status.State.Terminal() {
			c.Forget(id)
			delete(b.tasks, id)
			continue
		}
		if t.Goal == sdk.GoalStop {
			continue
		}
		if live[t.Ref] >= b.wanted(t.Ref) {
			c.Kill(id, sdk.ReasonKilledByPlugin)
			continue
		}
		live[t.Ref]++
	}
	taken := map[sdk.Ref]int64{}
	for _, id := range sortedOffers(b.offers) {
		o := b.offers[id]
		delete(b.offers, id)
		ref := sdk.Ref{Kind: "batch", Name: o.Demand}
		if live[ref]+taken[ref] >= b.wanted(ref) || o.Ports == 0 || id%3 == 0 {
			c.Decline(id, 5*sdk.Second)
			continue
		}
		taken[ref]++
		c.Accept(id, sdk.Launch{Ref: ref, Template: b.template(ref)})
	}
	for _, ref := range sortedRefs(b.docs) {
		d := b.docs[ref]
		missing := max(b.wanted(ref)-live[ref]-taken[ref], 0)
		c.Demand(sdk.Demand{Name: ref.Name, Ref: ref, Role: d.Role, Count: missing, Resources: b.template(ref).Resources})
	}
}

// wanted is how many tasks a document wants.
func (b *batch) wanted(ref sdk.Ref) int64 {
	d := b.docs[ref]
	if d == nil || d.Stopped {
		return 0
	}
	return int64(strings.Count(string(d.Body), "x"))
}

// template is what every batch task is.
func (b *batch) template(sdk.Ref) sdk.Template {
	t := (&doc.Task{Run: sdk.Run{Container: &sdk.Container{Image: "oci:/images/batch"}}}).Template()
	t.Ports = []sdk.PortRequest{{Name: "a"}}
	t.Resources = sdk.R(250, 64<<20)
	return t
}

// batchBody is a document of n tasks.
func batchBody(n int64) []byte {
	return []byte(fmt.Sprintf(`{"tasks":"%s"}`, strings.Repeat("x", int(n))))
}
