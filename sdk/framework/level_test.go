package framework_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
	"github.com/drupe-os/drupe/sdk/plugintest"
)

// wants makes a framework that demands what a document's body says, as it is.
func wants() framework.Framework {
	return framework.Level(func(s *framework.Subject) {
		count := int64(len(s.Doc.Body)) - 2
		if strings.Contains(string(s.Doc.Body), "-") {
			count = -1 // the kernel refuses this
		}
		s.Demand(sdk.Demand{Name: s.Ref.Name, Count: count - int64(len(s.Tasks())), Template: &sdk.Template{}})
		s.Store([]byte("known"))
		s.Status(sdk.DocumentStatus{Phase: sdk.PhaseReady, Version: s.Doc.Version})
	})
}

func ref(name string) sdk.Ref { return sdk.Ref{Kind: "k", Name: name} }

// apply declares a document; the length of the text is the count wanted.
func apply(t *testing.T, k *plugintest.Kernel, name, text string) {
	t.Helper()
	if err := k.Apply(ref(name), "", []byte(`"`+text+`"`)); err != nil {
		t.Fatal(err)
	}
}

func refusals(k *plugintest.Kernel) (n int) {
	for _, l := range k.Lines() {
		if strings.HasPrefix(l, "refused:") {
			n++
		}
	}
	return n
}

// One document whose actions are refused holds up no other, is reported, left
// alone, tried again later and at once when it changes.
func TestRefusedDocumentStandsAlone(t *testing.T) {
	k := plugintest.NewKernel("p", wants)
	k.Start()
	k.Hold()
	apply(t, k, "a", "xx")
	apply(t, k, "b", "-")
	apply(t, k, "c", "xxx")
	k.Deliver()
	k.Advance(0)
	if n := refusals(k); n != 2 {
		t.Errorf("%d refusals, want one together and one alone", n)
	}
	for name, phase := range map[string]sdk.Phase{"a": sdk.PhaseReady, "b": sdk.PhaseFailed, "c": sdk.PhaseReady} {
		if st := k.Document(ref(name)).Status; st.Phase != phase {
			t.Errorf("%s: %+v", name, st)
		}
	}
	if len(k.World.Demands) != 2 {
		t.Errorf("%q", k.State())
	}
	k.Advance(59 * sdk.Duration(sdk.Second))
	if n := refusals(k); n != 0 {
		t.Errorf("tried again %d times within a minute", n)
	}
	k.Advance(sdk.Duration(sdk.Second))
	if n := refusals(k); n != 1 {
		t.Errorf("tried %d times after a minute", n)
	}
	apply(t, k, "b", "x")
	if st := k.Document(ref("b")).Status; st.Phase != sdk.PhaseReady || len(k.World.Demands) != 3 {
		t.Errorf("mended, but %q", k.State())
	}
}

// What is said again is not sent again; old news changes nothing; a removed
// document leaves nothing.
func TestOnlyDifferencesAreSent(t *testing.T) {
	k := plugintest.NewKernel("p", wants)
	k.Start()
	apply(t, k, "a", "xx")
	k.Lines()
	apply(t, k, "a", "yy")
	want := []string{"status k/a ready version=2 wanted=0 running=0 healthy=0"}
	if got := k.Lines(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	k.Launch("a", 1, "n1")
	if got := k.Lines(); len(got) != 0 {
		t.Errorf("the kernel has lowered the count itself, yet %q", got)
	}
	// Removed and declared anew while nobody listened: a fresh instance is shown
	// the new document, and must not take the old news for new.
	k.Hold()
	if err := k.Remove(ref("a")); err != nil {
		t.Fatal(err)
	}
	apply(t, k, "a", "xx")
	k.Start()
	k.Lines()
	k.Deliver()
	if got := k.Lines(); len(got) != 0 {
		t.Errorf("old news had effect: %q", got)
	}
	if err := k.Remove(ref("a")); err != nil {
		t.Fatal(err)
	}
	for i := range k.World.Tasks {
		_ = k.Update(k.World.Tasks[i].ID, func(x *sdk.Task) { x.Status.State = sdk.Killed })
	}
	if left := k.State(); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
