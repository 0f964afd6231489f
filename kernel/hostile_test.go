package kernel

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drupe-os/drupe/kernel/host"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
	"github.com/drupe-os/drupe/sdk/policy"
)

// script is a framework that does as it is told.
type script struct {
	start func() (*sdk.FrameworkAnswer, error)
	call  func(events []sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error)
}

func (s script) Start(context.Context, *sdk.World) (*sdk.FrameworkAnswer, error) {
	if s.start == nil {
		return &sdk.FrameworkAnswer{}, nil
	}
	return s.start()
}

func (s script) Call(_ context.Context, _ sdk.Time, e []sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) {
	if s.call == nil {
		return &sdk.FrameworkAnswer{}, nil
	}
	return s.call(e)
}

func (s script) Close(context.Context) error { return nil }

func answer(actions ...sdk.Action) (*sdk.FrameworkAnswer, error) {
	return &sdk.FrameworkAnswer{Actions: actions}, nil
}

// holder wants an offer and keeps it.
func holder() Framework {
	return script{call: func(events []sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) {
		for _, e := range events {
			if e.Applied != nil {
				return answer(sdk.Action{Demand: &sdk.Demand{Name: "o", Ref: e.Applied.Ref, Role: "eng", Count: 1, Resources: sdk.R(100, 1<<20)}})
			}
		}
		return answer()
	}}
}

// TestHostileFrameworks: whatever one framework does wrong is counted, and in
// the end it is quarantined with the reason, while another one goes on.
func TestHostileFrameworks(t *testing.T) {
	put := func(key string, n int) sdk.Action {
		return sdk.Action{Put: &sdk.KeyValue{Key: key, Value: make([]byte, n)}}
	}
	always := func(a ...sdk.Action) func([]sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) {
		return func([]sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) { return answer(a...) }
	}
	trap := func([]sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) {
		return nil, &host.CallError{Plugin: "bad", Reason: sdk.ReasonTrap, Detail: "unreachable"}
	}
	for name, c := range map[string]struct {
		script script
		says   string
		calls  uint64 // rejected before it is quarantined
	}{
		"traps": {script{call: trap}, "trap: unreachable", failuresToQuit},
		"traps at start": {script{start: func() (*sdk.FrameworkAnswer, error) { return trap(nil) }},
			"trap: unreachable", failuresToQuit},
		"starts well and traps": {script{start: func() (*sdk.FrameworkAnswer, error) { return answer(put("k", 1)) }, call: trap},
			"trap: unreachable", failuresToQuit},
		"answers garbage": {script{call: func([]sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) {
			return nil, &host.CallError{Plugin: "bad", Reason: sdk.ReasonAnswerInvalid, Detail: "malformed"}
		}}, "answer-invalid: malformed", failuresToQuit},
		"says too much at once": {script{call: always(sdk.Action{Status: &sdk.SetStatus{Ref: sdk.Ref{Kind: "bad", Name: "b"},
			Status: sdk.DocumentStatus{Message: strings.Repeat("x", 300<<10)}}})}, "action 0 takes", failuresToQuit},
		"asks for nothing":       {script{call: always(sdk.Action{})}, "asks for nothing", refusalsToQuit},
		"stores too large a key": {script{call: always(put(strings.Repeat("k", 2000), 1))}, "a key has 1 to 1024 bytes", refusalsToQuit},
		"kills another's task":   {script{call: always(sdk.Action{Kill: &sdk.KillTask{Task: "hello.1"}})}, "task hello.1 is not its own", refusalsToQuit},
		"forgets another's":      {script{call: always(sdk.Action{Forget: &sdk.ForgetTask{Task: "hello.1"}})}, "is not its own", refusalsToQuit},
		"takes another's offer": {script{call: always(sdk.Action{Accept: &sdk.AcceptOffer{Offer: 1}})},
			"offer 1 is not its own", refusalsToQuit},
		"declines another's": {script{call: always(sdk.Action{Decline: &sdk.DeclineOffer{Offer: 1}})}, "offer 1 is not its own", refusalsToQuit},
		"speaks for another's document": {script{call: always(sdk.Action{Status: &sdk.SetStatus{Ref: sdk.Ref{Kind: "service", Name: "hello"}}})},
			"document service/hello is not its own", refusalsToQuit},
		"wants for another's document": {script{call: always(sdk.Action{Demand: &sdk.Demand{Name: "d", Ref: sdk.Ref{Kind: "service", Name: "hello"}, Role: "eng", Count: 1}})},
			`documents of kind "service" are not its own`, refusalsToQuit},
		"one good, one bad": {script{call: always(put("k", 1), sdk.Action{Kill: &sdk.KillTask{Task: "hello.1"}})}, "is not its own", refusalsToQuit},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := native()
			m.frameworks["bad"] = func() Framework { return c.script }
			m.frameworks["holder"] = holder
			r := newRig(t, m, func(c *Config) {
				c.Builtin = append(c.Builtin, manifest("bad", sdk.PointFramework, "bad"), manifest("holder", sdk.PointFramework, "held"))
			})
			r.connect("n1", 1000)
			r.connect("n2", 1000)
			r.apply(service("hello", 1))
			r.until("the good one runs", func() bool { return r.running("hello") == 1 })
			r.apply(document("held", "h", "{}"))
			r.until("an offer stands", func() bool { o, _ := r.ListOffers(); return len(o) == 1 })
			r.apply(document("bad", "b", "{}"))
			r.until("it is quarantined", func() bool { return r.plugin("bad").Quarantined })
			if p := r.plugin("bad"); !strings.Contains(p.Detail, c.says) || p.Rejected < c.calls || p.Active {
				t.Errorf("rejected %d times, at least %d were due; active %v; it says %q, not %q", p.Rejected, c.calls, p.Active, p.Detail, c.says)
			}
			r.look(func() error {
				if w := r.state.World("bad"); name == "one good, one bad" && len(w.Store) != 0 {
					t.Error("half of a refused answer was done")
				}
				return nil
			})
			r.apply(service("hello", 3))
			r.until("the good one goes on", func() bool { return r.running("hello") == 3 })
			if p := r.plugin("svc"); p.Rejected != 0 || p.Quarantined {
				t.Errorf("the good one was rejected %d times", p.Rejected)
			}
			if o, _ := r.ListOffers(); len(o) != 1 || o[0].Plugin != "holder" {
				t.Errorf("offers: %v", o)
			}
		})
	}
}

// A framework that fails for a while is tried again by the passing of time
// alone, and its failures are forgiven once it has done something.
func TestFailuresAreForgiven(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	m := native()
	m.frameworks["bad"] = func() Framework {
		return script{call: func([]sdk.FrameworkEvent) (*sdk.FrameworkAnswer, error) {
			if calls.Add(1)%4 != 0 { // three failures and one success, over and over
				return nil, errors.New("not now")
			}
			return answer()
		}}
	}
	r := newRig(t, m, func(c *Config) { c.Builtin = append(c.Builtin, manifest("bad", sdk.PointFramework, "bad")) })
	for i := range 2 {
		r.apply(document("bad", "b", strings.Repeat(" ", i)))
		r.until("it has succeeded", func() bool { return calls.Load() == int64(4*i+4) })
		r.quiet()
	}
	if p := r.plugin("bad"); p.Quarantined || p.Rejected != 6 {
		t.Errorf("quarantined %v, rejected %d", p.Quarantined, p.Rejected)
	}
}

// One document for which a framework asks what may not be holds up no other.
func TestOneBadDocument(t *testing.T) {
	r := newRig(t, native())
	r.connect("n1", 1000)
	r.apply(service("a", 2), document("service", "b", `{"bad":true}`), service("c", 2))
	r.until("the others run", func() bool { return r.running("a") == 2 && r.running("c") == 2 })
	r.until("the bad one says why", func() bool {
		d, err := r.Document(sdk.Ref{Kind: "service", Name: "b"})
		return err == nil && d.Status.Phase == sdk.PhaseFailed && strings.Contains(d.Status.Message, "count -1 is out of range")
	})
	if p := r.plugin("svc"); p.Quarantined {
		t.Error("the framework of all was quarantined for it")
	}
}

// broken is a policy that fails.
type broken struct{ calls *atomic.Int64 }

func (b broken) Allocate(context.Context, *policy.Batch, policy.Index) error {
	b.calls.Add(1)
	return &host.CallError{Plugin: "broken", Reason: sdk.ReasonDeadline, Detail: "too slow"}
}
func (b broken) Close(context.Context) error { return nil }

// A policy that keeps failing gives way to the one before it; without one,
// demands wait and say why.
func TestPolicyThatFails(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	m := native()
	m.policies["broken"] = func() Policy { return broken{&calls} }
	r := newRig(t, m, func(c *Config) { c.Builtin = append(c.Builtin, manifest("broken", sdk.PointPolicy)) })
	r.connect("n1", 1000)
	r.apply(service("before", 1))
	r.until("one runs", func() bool { return r.running("before") == 1 })
	if _, err := r.UsePolicy(context.Background(), "op", "broken"); err != nil {
		t.Fatal(err)
	}
	r.apply(service("hello", 2))
	r.until("the one before it placed them", func() bool { return r.running("hello") == 2 })
	if v := r.Policy(); v.Active != "even" || v.By != "kernel" {
		t.Errorf("policy %+v", v)
	}
	if p := r.plugin("broken"); !p.Quarantined || p.Rejected != failuresToQuit || calls.Load() != failuresToQuit {
		t.Errorf("%+v after %d calls", p, calls.Load())
	}
	if _, err := r.UsePolicy(context.Background(), "op", "broken"); sdk.KindOf(err) != sdk.Conflict {
		t.Errorf("a quarantined policy is put to work: %v", err)
	}
}

func TestOnlyPolicyFails(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	m := native()
	m.policies["broken"] = func() Policy { return broken{&calls} }
	r := newRig(t, m, func(c *Config) {
		c.DefaultPolicy = "broken"
		c.Builtin = append(c.Builtin, manifest("broken", sdk.PointPolicy))
	})
	r.connect("n1", 1000)
	r.apply(service("hello", 2))
	r.until("it is quarantined", func() bool { return r.plugin("broken").Quarantined })
	w, err := r.Why(context.Background(), sdk.Ref{Kind: "service", Name: "hello"})
	if err != nil || len(w.Demands) != 1 || w.Demands[0].Reason != sdk.ReasonNoPolicy {
		t.Errorf("why: %+v, %v", w, err)
	}
	if _, err := r.UsePolicy(context.Background(), "op", "even"); err != nil {
		t.Fatal(err)
	}
	r.until("another policy places them", func() bool { return r.running("hello") == 2 })
	if calls.Load() != failuresToQuit {
		t.Errorf("called %d times", calls.Load())
	}
}

// A leader with nothing to do but wait for a moment waits: it takes no turn
// after turn.
func TestWaitingCostsNothing(t *testing.T) {
	t.Parallel()
	m := native()
	m.frameworks["svc"] = func() Framework {
		return host.NativeOf(func() framework.Framework {
			return framework.Level(func(s *framework.Subject) { s.Wake(s.Now.Add(200 * sdk.Millisecond)) })
		})
	}
	r := newRig(t, m)
	r.apply(service("hello", 1))
	begin := r.Index()
	end := time.Now().Add(time.Second)
	r.until("a second has passed", func() bool { return time.Now().After(end) })
	if n := r.Index() - begin; n < 4 || n > 40 {
		t.Errorf("%d entries in a second with a timer every 200 ms", n)
	}
}
