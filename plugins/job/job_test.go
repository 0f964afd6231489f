package main

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/plugintest"
)

func TestScripts(t *testing.T) { plugintest.Run(t, "testdata/*.txt", "job", newJob) }

var tick = sdk.Ref{Kind: "job", Name: "tick"}

// book reads the job's record.
func book(t *rapid.T, k *plugintest.Kernel) (r record) {
	for _, e := range k.World.Store {
		if err := json.Unmarshal(e.Value, &r); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// Every slot runs exactly once or is noted as missed, through crashes, outages
// of the scheduler and nodes that take their time (what Chronos got wrong).
func TestEverySlotOnceOrMissed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *"}).Draw(t, "cron")
		overlap := rapid.SampledFrom([]string{"allow", "forbid"}).Draw(t, "overlap")
		k := plugintest.NewKernel("job", newJob)
		// Two days before the clock goes forward, or back.
		k.World.Now = sdk.Time(rapid.SampledFrom([]int64{1774569600000, 1792713600000}).Draw(t, "season"))
		begin := k.World.Now
		k.Start()
		if err := k.Apply(tick, "", []byte(`{"run":{"container":{"image":"oci:/x"}},"schedule":{"cron":"`+line+
			`","timezone":"Europe/Berlin","overlap":"`+overlap+`"}}`)); err != nil {
			t.Fatal(err)
		}
		plan, err := parseCron(line, "Europe/Berlin")
		if err != nil {
			t.Fatal(err)
		}
		begun := map[string]int{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			known := len(k.World.Tasks)
			span := sdk.Duration(rapid.IntRange(1, 90).Draw(t, "span")) * sdk.Duration(sdk.Minute)
			switch rapid.SampledFrom([]string{"time", "time", "away", "launch", "launch", "end", "end", "crash", "hold", "deliver"}).Draw(t, "step") {
			case "time":
				k.Advance(span)
			case "away": // the scheduler is down for a while
				k.World.Now = k.World.Now.Add(span * 10)
				k.Start()
			case "launch":
				k.Launch("", int64(rapid.IntRange(1, 10).Draw(t, "n")), "n1")
				for _, x := range k.World.Tasks[known:] {
					begun[x.Tag]++
				}
			case "end":
				for _, x := range k.World.Tasks {
					if !x.Status.State.Terminal() {
						_ = k.Update(x.ID, func(x *sdk.Task) { x.Status.State = sdk.Finished })
						break
					}
				}
			case "crash":
				k.Start()
			case "hold":
				k.Hold()
			case "deliver":
				k.Deliver()
			}
		}
		k.Deliver()
		k.Start()
		for _, l := range k.Lines() {
			if strings.HasPrefix(l, "refused:") {
				t.Fatal(l)
			}
		}
		r := book(t, k)
		want := int64(0)
		for at := plan.next(begin); at <= k.World.Now; at = plan.next(at) {
			want++
		}
		got := r.Missed + int64(len(begun))
		for _, o := range r.Open {
			if !o.Begun {
				got++
			}
		}
		if got != want {
			t.Fatalf("%d slots came: %d begun, %d missed, book %+v", want, len(begun), r.Missed, r)
		}
		for slot, n := range begun {
			if n != 1 {
				t.Fatalf("%s ran %d times", slot, n)
			}
		}
	})
}

// A fresh instance has nothing to add to what the old one did.
func TestFreshInstanceHasNothingToAdd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := plugintest.NewKernel("job", newJob)
		k.Start()
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.SampledFrom([]string{"apply", "time", "time", "launch", "run", "fail", "end", "stop", "remove"}).Draw(t, "step") {
			case "apply":
				_ = k.Apply(tick, "", []byte(`{"run":{"container":{"image":"oci:/x"}}`+rapid.SampledFrom([]string{
					`}`, `,"restart":{"retries":2}}`, `,"schedule":{"cron":"*/5 * * * *"}}`,
					`,"schedule":{"cron":"*/5 * * * *","overlap":"forbid","deadline":"1m"},"restart":{"retries":1}}`,
					`,"schedule":{"cron":"0 0 30 2 *"}}`}).Draw(t, "body")))
			case "time":
				k.Advance(sdk.Duration(rapid.IntRange(1, 20*60_000).Draw(t, "ms")))
			case "launch":
				k.Launch("", 1, "n1")
			case "stop":
				if d := k.Document(tick); d != nil {
					_ = k.SetStopped(tick, !d.Stopped)
				}
			case "remove":
				_ = k.Remove(tick)
			default:
				state := rapid.SampledFrom([]sdk.TaskState{sdk.Running, sdk.Finished, sdk.Failed, sdk.Killed, sdk.Dropped}).Draw(t, "state")
				for _, x := range k.World.Tasks {
					if !x.Status.State.Terminal() {
						_ = k.Update(x.ID, func(x *sdk.Task) { x.Status.State = state })
						break
					}
				}
			}
			k.Lines()
			k.Start()
			if lines := k.Lines(); len(lines) > 0 {
				t.Fatalf("the fresh instance did more:\n%q\nworld:\n%q", lines, k.State())
			}
		}
	})
}
