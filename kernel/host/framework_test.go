package host

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

const echo = "github.com/drupe-os/drupe/kernel/host/testdata/echo"

func echoManifest() sdk.Manifest {
	return sdk.Manifest{Name: "echo", Version: "1.0.0", Point: sdk.PointFramework, ABI: 1, Kinds: []string{"k"}}
}

// world is a small world at noon of a day in 2026.
func world() *sdk.World {
	return &sdk.World{Plugin: "echo", Now: 1790000000000, Documents: []sdk.Document{{Ref: sdk.Ref{Kind: "k", Name: "a"}}}}
}

func tell(word string) []sdk.FrameworkEvent {
	return []sdk.FrameworkEvent{{Seq: 1, Applied: &sdk.Document{Ref: sdk.Ref{Kind: "k", Name: "a"}, Body: sdk.RawJSON(`"` + word + `"`)}}}
}

func startEcho(t *testing.T, m *Module) *Framework {
	t.Helper()
	f, err := m.Framework(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(context.Background()) })
	if _, err := f.Start(context.Background(), world()); err != nil {
		t.Fatal(err)
	}
	return f
}

// lines collects a host's log.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) add(_ sdk.PluginName, s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, s)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text, "\n")
}

func TestFramework(t *testing.T) {
	var log lines
	h := newHost(t, Config{CacheDir: shared, Log: log.add})
	m := install(t, h, build(t, echo, echoManifest()))
	f := startEcho(t, m)
	now := world().Now.Add(sdk.Minute)
	ask := func(word string) *sdk.FrameworkAnswer {
		t.Helper()
		a, err := f.Call(context.Background(), now, tell(word))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if a := ask("demand"); len(a.Actions) != 2 || a.Actions[0].Demand.Count != 2 || a.Actions[1].Timer.At != now.Add(sdk.Second) {
		t.Fatalf("%+v", a.Actions)
	}
	if a := ask("sleep"); len(a.Logs) != 1 || a.Logs[0] != "1h0m0s" {
		t.Fatalf("an hour's sleep must take no time and look like one: %v", a.Logs)
	}
	if a := ask("file"); !strings.HasSuffix(a.Logs[0], " 0 0") || strings.Contains(a.Logs[0], "<nil>") {
		t.Fatalf("it reached the machine: %v", a.Logs)
	}
	ask("print")
	for _, want := range []string{"echo started with 1 documents at 2026-09-21T", "a line", "to standard output", "no line end"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log.String())
		}
	}
}

// Same inputs, same bytes: also for what looks random.
func TestFrameworkIsDeterministic(t *testing.T) {
	h := newHost(t, Config{CacheDir: shared})
	m := install(t, h, build(t, echo, echoManifest()))
	var answers [2][]byte
	for i := range answers {
		f := startEcho(t, m)
		for _, word := range []string{"random", "sleep", "random"} {
			a, err := f.Call(context.Background(), world().Now, tell(word))
			if err != nil {
				t.Fatal(err)
			}
			if answers[i], err = a.MarshalMsg(answers[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(answers[0]) < 500 || !bytes.Equal(answers[0], answers[1]) {
		t.Fatalf("two instances gave different answers to the same calls")
	}
}

// A framework that fails is refused with the right reason, answers no more, and
// starts again from the world.
func TestHostileFrameworks(t *testing.T) {
	h := newHost(t, Config{CacheDir: shared})
	manifest := echoManifest()
	manifest.Limits = sdk.PluginLimits{MemoryPages: 2048, Deadline: 20 * sdk.Second}
	m := install(t, h, build(t, echo, manifest))
	for _, c := range []struct {
		word   string
		want   sdk.Reason
		detail string
	}{
		{"panic", sdk.ReasonTrap, "as it was told"},
		{"exit", sdk.ReasonTrap, "status 3"},
		{"deadlock", sdk.ReasonTrap, "asleep"},
		{"memory", sdk.ReasonMemory, "2048 pages"},
		{"long", sdk.ReasonAnswerTooLong, "more than 8388608"},
	} {
		t.Run(c.word, func(t *testing.T) {
			f := startEcho(t, m)
			_, err := f.Call(context.Background(), world().Now, tell(c.word))
			if ReasonOf(err) != c.want || !strings.Contains(err.Error(), c.detail) {
				t.Fatalf("want %s, got %v", c.want, err)
			}
			if _, err := f.Call(context.Background(), world().Now, nil); sdk.KindOf(err) != sdk.Unavailable {
				t.Fatalf("an ended instance answered: %v", err)
			}
			begun := time.Now()
			if _, err := f.Start(context.Background(), world()); err != nil {
				t.Fatal(err)
			}
			t.Logf("running again after %s", time.Since(begun).Round(100*time.Microsecond))
		})
	}
}

// Answers of handmade frameworks that no compiler would produce.
func TestGarbageAnswers(t *testing.T) {
	packed := func(at, n uint64) []byte { return append([]byte{0x42}, sleb(int64(at<<32|n))...) }
	for _, c := range []struct {
		name   string
		answer []byte // instructions that leave an i64
		data   string
		want   sdk.Reason
	}{
		{"nothing", packed(0, 0), "", sdk.ReasonAnswerInvalid},
		{"no map", packed(0, 4), "abcd", sdk.ReasonAnswerInvalid},
		{"torn", packed(0, 4), "\x81\xa1a\xdd", sdk.ReasonAnswerInvalid},
		{"a list of four billion", packed(0, 8), "\x81\xa1a\xdd\xff\xff\xff\xff", sdk.ReasonAnswerInvalid},
		{"a map of four billion", packed(0, 5), "\xdf\xff\xff\xff\xff", sdk.ReasonAnswerInvalid},
		{"a text of four gigabytes", packed(0, 9), "\x81\xa1l\x91\xdb\xff\xff\xff\xff", sdk.ReasonAnswerInvalid},
		{"bytes too many", packed(0, 2), "\x80\x80", sdk.ReasonAnswerInvalid},
		{"nested without end", packed(0, 300), "\x81\xa1z" + strings.Repeat("\x91", 297), sdk.ReasonAnswerInvalid},
		{"outside its memory", packed(1<<20, 100), "", sdk.ReasonAnswerInvalid},
		{"across its end", packed(pageSize-1, 2), "", sdk.ReasonAnswerInvalid},
		{"longer than allowed", packed(0, 9<<20), "", sdk.ReasonAnswerTooLong},
		{"an empty one is fine", packed(0, 1), "\x80", sdk.ReasonNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, Config{CacheDir: shared})
			g := guestModule{pages: 1, data: []byte(c.data), funcs: []guestFunc{
				{name: framework.ExportMarker},
				{name: framework.ExportBuffer, params: "i", results: "i", body: i32(1024)},
				{name: framework.ExportStart, params: "i", results: "I", body: c.answer},
				{name: framework.ExportCall, params: "i", results: "I", body: c.answer},
			}}
			m := install(t, h, signed(t, g, sdk.Manifest{Name: "garbage", Version: "1.0.0", Point: sdk.PointFramework, ABI: 1}))
			f, err := m.Framework(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close(context.Background())
			if _, err := f.Start(context.Background(), world()); ReasonOf(err) != c.want || err != nil && c.want == 0 {
				t.Fatalf("want %s, got %v", c.want, err)
			}
		})
	}
}
