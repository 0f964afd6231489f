package gate_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
)

// kernel is the least that can stand behind a gate: fixed lists, and a record of
// what it was asked to change.
type kernel struct {
	mu      sync.Mutex
	calls   []string
	applied []sdk.Document
	options gate.ApplyOptions

	events []sdk.Event
	live   chan sdk.Event // sent after events
	logs   chan sdk.LogChunk
	gone   chan struct{} // closed when a log reader went away
	err    error         // of Ready
}

func (k *kernel) did(call string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = append(k.calls, call)
}

func (k *kernel) Apply(_ context.Context, by string, docs []sdk.Document, o gate.ApplyOptions) ([]sdk.Applied, error) {
	k.did("apply by " + by)
	k.applied, k.options = docs, o
	out := make([]sdk.Applied, len(docs))
	for i, d := range docs {
		out[i] = sdk.Applied{Ref: d.Ref, Revision: 7, Version: 1, Changed: true}
	}
	return out, nil
}
func (k *kernel) Remove(_ context.Context, by string, ref sdk.Ref) error {
	k.did("remove " + ref.String())
	return nil
}
func (k *kernel) Stop(_ context.Context, by string, ref sdk.Ref) error {
	k.did("stop " + ref.String())
	return nil
}
func (k *kernel) Scale(_ context.Context, by string, ref sdk.Ref, n int64) (sdk.Applied, error) {
	k.did("scale " + ref.String())
	return sdk.Applied{Ref: ref, Changed: true}, nil
}
func (k *kernel) ListDocuments(f gate.DocumentFilter) ([]sdk.Document, uint64) {
	all := []sdk.Document{
		{Ref: sdk.Ref{Kind: "service", Name: "web"}, Role: "eng/web"},
		{Ref: sdk.Ref{Kind: "job", Name: "tidy"}, Role: "ops"},
		{Ref: sdk.Ref{Kind: "service", Name: "api"}, Role: "eng"},
	}
	var out []sdk.Document
	for i := range all {
		if f.Match(&all[i]) {
			out = append(out, all[i])
		}
	}
	return out, 42
}
func (k *kernel) Document(ref sdk.Ref) (sdk.Document, error) { return sdk.Document{Ref: ref}, nil }
func (k *kernel) Why(_ context.Context, ref sdk.Ref) (sdk.Why, error) {
	return sdk.Why{Ref: ref}, nil
}
func (k *kernel) ListTasks(f gate.TaskFilter) ([]sdk.TaskView, uint64) { return nil, 42 }

// Task fails with the kind of fault that the id names.
func (k *kernel) Task(id sdk.TaskID) (sdk.TaskView, error) {
	switch id {
	case "panic":
		panic("planted")
	case "plain":
		return sdk.TaskView{}, io.ErrClosedPipe
	}
	return sdk.TaskView{}, sdk.Errorf(sdk.FaultKind(id), "task/x", "went wrong").Because("of this").ToFix("do that").At("place")
}
func (k *kernel) Kill(_ context.Context, by string, id sdk.TaskID, grace sdk.Duration) error {
	k.did("kill " + string(id) + " " + grace.String())
	return nil
}
func (k *kernel) Logs(ctx context.Context, r sdk.LogRequest) (<-chan sdk.LogChunk, error) {
	if k.gone != nil {
		context.AfterFunc(ctx, func() { close(k.gone) })
	}
	return k.logs, nil
}
func (k *kernel) ListNodes() ([]sdk.NodeView, uint64) { return nil, 42 }
func (k *kernel) Node(string) (sdk.NodeView, error)   { return sdk.NodeView{}, nil }
func (k *kernel) ListRoles() ([]sdk.RoleView, uint64) { return nil, 42 }
func (k *kernel) Role(p sdk.RolePath) (sdk.RoleView, error) {
	return sdk.RoleView{Role: sdk.Role{Path: p}}, nil
}
func (k *kernel) ListOffers() ([]sdk.Offer, uint64)             { return nil, 42 }
func (k *kernel) Summary() sdk.ClusterView                      { return sdk.ClusterView{} }
func (k *kernel) ListPlugins() ([]sdk.PluginView, uint64)       { return nil, 42 }
func (k *kernel) Plugin(sdk.PluginName) (sdk.PluginView, error) { return sdk.PluginView{}, nil }
func (k *kernel) Install(_ context.Context, by string, module []byte) (sdk.Plugin, error) {
	k.did("install")
	return sdk.Plugin{Size: int64(len(module))}, nil
}
func (k *kernel) Policy() sdk.PolicyView { return sdk.PolicyView{Active: "drf"} }
func (k *kernel) UsePolicy(_ context.Context, by string, n sdk.PluginName) (sdk.PolicyChange, error) {
	k.did("use " + string(n))
	return sdk.PolicyChange{Active: n}, nil
}
func (k *kernel) UndoPolicy(context.Context, string) (sdk.PolicyChange, error) {
	k.did("undo")
	return sdk.PolicyChange{}, nil
}
func (k *kernel) Index() uint64 { return 42 }
func (k *kernel) Recent(after sdk.Position, limit int) []sdk.Event {
	var out []sdk.Event
	for i := range k.events {
		if after.Before(sdk.PositionOf(&k.events[i])) {
			out = append(out, k.events[i])
		}
	}
	return out
}
func (k *kernel) Subscribe(ctx context.Context, after sdk.Position) (<-chan sdk.Event, error) {
	out := make(chan sdk.Event)
	go func() {
		defer close(out)
		for _, e := range k.Recent(after, 1000) {
			select {
			case out <- e:
			case <-ctx.Done():
				return
			}
		}
		for {
			select {
			case e := <-k.live:
				out <- e
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
func (k *kernel) Join(context.Context, []byte, string) (sdk.JoinAnswer, error) {
	return sdk.JoinAnswer{Node: "n1"}, nil
}

// people knows two tokens; only alice may do anything, and not with "secret".
type people struct{}

func (people) Identify(token string) (string, bool) {
	switch token {
	case "a":
		return "alice", true
	case "m":
		return "mallory", true
	}
	return "", false
}

func (people) Allow(who, verb, object string) error {
	if who == "alice" && !strings.Contains(object, "secret") {
		return nil
	}
	return sdk.Errorf(sdk.Denied, object, "%s may not %s it", who, verb).ToFix("ask an operator")
}

// checker refuses bodies with a field "bad".
type checker struct{}

func (checker) Check(_ context.Context, kind, name string, body []byte) error {
	if strings.Contains(string(body), `"bad"`) {
		return sdk.Errorf(sdk.Invalid, "", "no such field").At("bad")
	}
	return nil
}

func (checker) Evaluate(_ context.Context, source []byte) ([]sdk.Document, error) {
	return []sdk.Document{{Ref: sdk.Ref{Kind: "service", Name: "cue"}, Body: []byte(`{"b":1,"a":2}`), Source: string(source)}}, nil
}

// start serves k, and returns its address.
func start(t *testing.T, k *kernel, o gate.Options) string {
	t.Helper()
	g := gate.New(gate.Needs{Documents: k, Tasks: k, Cluster: k, Plugins: k, Events: k, Join: k,
		Auth: people{}, Guard: people{}, Checker: checker{}, Ready: func() error { return k.err }}, o)
	s := httptest.NewUnstartedServer(nil)
	s.Config = gate.NewServer(g, nil)
	s.Start()
	t.Cleanup(func() { g.Close(); s.Close() })
	return s.URL
}

// do sends one request as the holder of token and returns the answer with its
// body read.
func do(t *testing.T, method, url, token, contentType, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := http.DefaultClient.Do(r.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}
