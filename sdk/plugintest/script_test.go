package plugintest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

// keeper keeps the declared number of instances, one minute after the other
// when they fail; a document without template asks for offers.
type keeper struct{ docs map[sdk.Ref]int64 }

func newKeeper() framework.Framework { return &keeper{docs: map[sdk.Ref]int64{}} }

func (k *keeper) Start(w *sdk.World, c *framework.Call) {
	for _, d := range w.Documents {
		k.learn(&d)
	}
}

func (k *keeper) learn(d *sdk.Document) (body struct {
	N      int64 `json:"n"`
	Offers bool  `json:"offers"`
}) {
	if err := json.Unmarshal(d.Body, &body); err != nil {
		panic(err)
	}
	k.docs[d.Ref] = body.N
	return body
}

func (k *keeper) Handle(events []sdk.FrameworkEvent, c *framework.Call) {
	for _, e := range events {
		switch {
		case e.Applied != nil:
			body := k.learn(e.Applied)
			d := sdk.Demand{Name: e.Applied.Ref.Name, Ref: e.Applied.Ref, Role: e.Applied.Role,
				Count: body.N, Resources: sdk.R(100, 64<<20)}
			if !body.Offers {
				d.Template = &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "oci:x"}}, Resources: d.Resources}
			}
			c.Demand(d)
		case e.Removed != nil:
			c.Drop(e.Removed.Name)
			c.Kill("nobody.1", sdk.ReasonKilledByPlugin) // refused: the whole batch must go
		case e.Refused != nil:
			c.Log("refused because " + e.Refused.Reason.String())
		case e.Updated != nil && e.Updated.Status.State.Terminal():
			c.Forget(e.Updated.ID)
			c.Wake("again", c.Now.Add(sdk.Minute))
		case e.Fired != nil:
			c.Log("awake")
		case e.Offered != nil:
			tpl := sdk.Template{Resources: sdk.R(100, 64<<20)}
			c.Accept(e.Offered.ID, sdk.Launch{Ref: sdk.Ref{Kind: "k", Name: "free"}, Template: tpl})
		}
	}
}

func TestScripts(t *testing.T) { Run(t, "testdata/*.txt", "keeper", newKeeper) }

// A script that expects something else must fail; otherwise every test written
// with this package would pass.
func TestDifferenceIsFound(t *testing.T) {
	k := NewKernel("keeper", newKeeper)
	k.Start()
	if err := k.Apply(sdk.Ref{Kind: "k", Name: "a"}, "", []byte(`{"n":2}`)); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(k.Lines(), "\n")
	if want := "demand a for=k/a count=2 (cpus 0.1, mem 64Mi) image=oci:x"; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	if n := k.Launch("", 1, "n1"); n != 1 || k.World.Demands[0].Count != 1 {
		t.Fatalf("launched %d, %d left", n, k.World.Demands[0].Count)
	}
}
