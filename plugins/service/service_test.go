package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/plugintest"
)

func TestScripts(t *testing.T) { plugintest.Run(t, "testdata/*.txt", "service", newService) }

// Instances are told apart by this digest: another value for the same document
// would restart everything that runs when the plugin is upgraded.
func TestDigestStandsStill(t *testing.T) {
	sp, err := read(&sdk.Document{Ref: hello, Role: "eng", Body: []byte(`{
		"run":{"container":{"image":"oci:/x","args":["a"]}}, "env":{"A":"1"}, "ports":{"http":{}},
		"checks":{"up":{"http":{"port":"http","path":"/"}}},
		"constraints":[{"attribute":"zone","operator":"group_by"}]}`)})
	if err != nil || sp.digest != "82184b98949f3ca1" {
		t.Errorf("%s %v", sp.digest, err)
	}
}

var hello = sdk.Ref{Kind: "service", Name: "hello"}

// bodies of all sorts: two shapes, several sizes and ways to roll.
func body(t *rapid.T) []byte {
	b, err := json.Marshal(map[string]any{
		"instances": rapid.IntRange(0, 5).Draw(t, "instances"),
		"run":       map[string]any{"container": map[string]any{"image": "oci:/" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "image")}},
		"resources": map[string]any{"cpus": rapid.SampledFrom([]float64{0.1, 0.2}).Draw(t, "cpus")},
		"upgrade": map[string]any{
			"min_healthy": rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "min"),
			"max_over":    rapid.SampledFrom([]float64{0, 0.5, 1}).Draw(t, "over")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// step lets one thing happen to the service.
func step(t *rapid.T, k *plugintest.Kernel) {
	pick := func(want func(*sdk.Task) bool) *sdk.Task {
		var ids []sdk.TaskID
		for i := range k.World.Tasks {
			if task := &k.World.Tasks[i]; !task.Status.State.Terminal() && want(task) {
				ids = append(ids, task.ID)
			}
		}
		if len(ids) == 0 {
			return nil
		}
		return k.Task(rapid.SampledFrom(ids).Draw(t, "task"))
	}
	update := func(task *sdk.Task, change func(*sdk.Task)) {
		if task != nil {
			if err := k.Update(task.ID, change); err != nil {
				t.Fatal(err)
			}
		}
	}
	reached := func(x *sdk.Task) bool { return !x.Unreachable }
	switch rapid.SampledFrom([]string{"apply", "launch", "launch", "up", "up", "up", "sick", "end", "end", "fail",
		"lost", "found", "advance", "advance", "stop", "remove"}).Draw(t, "step") {
	case "apply":
		if err := k.Apply(hello, "", body(t)); err != nil {
			t.Fatal(err)
		}
	case "launch":
		k.Launch("", int64(rapid.IntRange(1, 3).Draw(t, "n")), "n1")
	case "up":
		update(pick(func(x *sdk.Task) bool { return reached(x) && x.Goal == sdk.GoalRun }), func(x *sdk.Task) {
			x.Status.State, x.Status.Health = sdk.Running, sdk.Healthy
		})
	case "sick":
		update(pick(healthy), func(x *sdk.Task) { x.Status.Health = sdk.Unhealthy })
	case "end":
		update(pick(func(x *sdk.Task) bool { return reached(x) && x.Goal == sdk.GoalStop }), func(x *sdk.Task) {
			x.Status.State = sdk.Killed
		})
	case "fail":
		update(pick(reached), func(x *sdk.Task) { x.Status.State, x.Status.ExitCode = sdk.Failed, 1 })
	case "lost":
		update(pick(reached), func(x *sdk.Task) { x.Unreachable = true })
	case "found":
		update(pick(func(x *sdk.Task) bool { return x.Unreachable }), func(x *sdk.Task) { x.Unreachable = false })
	case "advance":
		k.Advance(sdk.Duration(rapid.IntRange(1, 40_000).Draw(t, "ms")))
	case "stop":
		if d := k.Document(hello); d != nil {
			_ = k.SetStopped(hello, !d.Stopped)
		}
	case "remove":
		if rapid.IntRange(0, 3).Draw(t, "really") == 0 && k.Document(hello) != nil {
			_ = k.Remove(hello)
		}
	}
}

// A fresh instance, started on what is committed at any moment, has nothing to
// add: all that the old one knew is in the world.
func TestFreshInstanceHasNothingToAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := plugintest.NewKernel("service", newService)
		k.Start()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			step(t, k)
			k.Lines()
			k.Start()
			if lines := k.Lines(); len(lines) > 0 {
				t.Fatalf("the fresh instance did more:\n%q\nworld:\n%q", lines, k.State())
			}
		}
	})
}

// While things happen nothing is overdone, and when they stop happening the
// service becomes what was declared.
func TestServiceConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := plugintest.NewKernel("service", newService)
		k.Start()
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			before := serving(k)
			step(t, k)
			guard(t, k, before)
			if rapid.IntRange(0, 4).Draw(t, "crash") == 0 {
				k.Start()
			}
		}
		for range 200 {
			settle(t, k)
		}
		d := k.Document(hello)
		live, well := 0, 0
		for _, x := range k.World.Tasks {
			if !x.Status.State.Terminal() {
				live++
			}
			if healthy(&x) {
				well++
			}
		}
		switch {
		case d == nil && (live > 0 || len(k.World.Store)+len(k.World.Tasks)+len(k.World.Demands)+len(k.World.Timers) > 0):
			t.Fatalf("removed, but left behind: %q", k.State())
		case d == nil:
		case d.Stopped && (live > 0 || d.Status.Phase != sdk.PhaseStopped):
			t.Fatalf("stopped, but: %q", k.State())
		case !d.Stopped && (int64(live) != d.Status.Wanted || well != live || d.Status.Phase != sdk.PhaseReady):
			t.Fatalf("not what was declared: %q", k.State())
		}
	})
}

// settle lets everything go well for a while.
func settle(t *rapid.T, k *plugintest.Kernel) {
	for _, x := range slices.Clone(k.World.Tasks) {
		if !x.Status.State.Terminal() {
			if err := k.Update(x.ID, func(x *sdk.Task) {
				x.Unreachable = false
				if x.Goal == sdk.GoalStop {
					x.Status.State = sdk.Killed
				} else {
					x.Status.State, x.Status.Health = sdk.Running, sdk.Healthy
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	k.Advance(40 * sdk.Duration(sdk.Second))
	k.Launch("", -1, "n1")
}

// state is what a step may not make worse than the declaration allows.
type state struct{ healthy, killed int } // of the healthy ones: wanted, asked to end

func serving(k *plugintest.Kernel) (s state) {
	for i := range k.World.Tasks {
		x := &k.World.Tasks[i]
		if healthy(x) && x.Goal == sdk.GoalRun {
			s.healthy++
		}
		if healthy(x) && x.Goal == sdk.GoalStop {
			s.killed++
		}
	}
	return s
}

// guard holds a step against the rules of a rollout: kills never take the
// healthy ones below what must stay, and no more is asked for than may be.
func guard(t *rapid.T, k *plugintest.Kernel, before state) {
	for _, l := range k.Lines() {
		if len(l) > 8 && l[:8] == "refused:" {
			t.Fatal(l)
		}
	}
	d := k.Document(hello)
	if d == nil || d.Stopped {
		return
	}
	sp, err := read(d)
	if err != nil {
		t.Fatal(err)
	}
	now := serving(k)
	if now.killed > before.killed && int64(now.healthy) < sp.atLeast() {
		t.Fatalf("killed a healthy one, and of at least %d only %d are left: %q", sp.atLeast(), now.healthy, k.State())
	}
	var ended, takes int64
	for i := range k.World.Tasks {
		switch x := &k.World.Tasks[i]; {
		case x.Status.State.Terminal():
			ended++
		case !x.Unreachable && x.Goal == sdk.GoalRun:
			takes++
		}
	}
	for _, dm := range k.World.Demands {
		takes += dm.Count
	}
	if ended > keepEnded {
		t.Fatalf("%d ended tasks kept", ended)
	}
	// Instances that were there before a scale-down or a return of a node may
	// be more; new ones may only be asked for within the bound.
	for _, dm := range k.World.Demands {
		if most := max(sp.instances+1, sp.instances*(1000+sp.maxOver)/1000); dm.Count > 0 && takes > most {
			t.Fatalf("%s asks for %d where %d of at most %d are: %q", dm.Name, dm.Count, takes, most, k.State())
		}
	}
}

// Rolling back restarts only what the new version had replaced (complaint 4:
// Marathon restarted instances that were fine).
func TestRollbackKeepsWhatWasNotTouched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(t, "instances")
		frac := rapid.SampledFrom([]string{"0", "0.5", "1"})
		doc := func(image, min, over string) []byte {
			return fmt.Appendf(nil, `{"instances":%d,"run":{"container":{"image":"oci:/%s"}},"upgrade":{"min_healthy":%s,"max_over":%s}}`,
				n, image, min, over)
		}
		lo, hi := frac.Draw(t, "min"), frac.Draw(t, "over")
		k := plugintest.NewKernel("service", newService)
		k.Start()
		_ = k.Apply(hello, "", doc("a", lo, hi))
		for range 20 {
			settle(t, k)
		}
		first := k.World.Tasks[len(k.World.Tasks)-1].Created
		_ = k.Apply(hello, "", doc("b", lo, hi))
		for range rapid.IntRange(0, 4).Draw(t, "rounds") {
			settle(t, k)
		}
		kept := 0
		for _, x := range k.World.Tasks {
			if x.Created <= first && x.Goal == sdk.GoalRun && !x.Status.State.Terminal() {
				kept++
			}
		}
		_ = k.Apply(hello, "", doc("a", lo, hi))
		for range 60 {
			settle(t, k)
		}
		still := 0
		for _, x := range k.World.Tasks {
			if x.Created <= first && healthy(&x) {
				still++
			}
		}
		if still != kept {
			t.Fatalf("%d of the %d untouched instances are left", still, kept)
		}
	})
}
