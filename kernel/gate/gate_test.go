package gate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
)

// A route that nobody guards is a hole, so the table is walked, not trusted.
func TestEveryRouteIsGuarded(t *testing.T) {
	open := map[string]bool{"GET /livez": true, "GET /readyz": true, "POST /v1/join": true}
	k := &kernel{}
	url := start(t, k, gate.Options{})
	param := regexp.MustCompile(`\{[^}]*\}`)
	for _, rt := range gate.Routes() {
		name := rt.Method + " " + rt.Pattern
		if rt.Open != open[name] {
			t.Errorf("%s: open is %v", name, rt.Open)
		}
		if rt.Open {
			continue
		}
		if rt.Verb == "" || rt.Object == "" || rt.Summary == "" {
			t.Errorf("%s: verb %q, object %q, summary %q", name, rt.Verb, rt.Object, rt.Summary)
		}
		path, body, typ := param.ReplaceAllString(rt.Pattern, "x"), "", ""
		if rt.Each {
			body = `{"documents":[{"kind":"service","name":"x","body":{}}]}`
		}
		for token, want := range map[string]int{"": 401, "wrong": 401, "m": 403} {
			if resp, got := do(t, rt.Method, url+path, token, typ, body); resp.StatusCode != want {
				t.Errorf("%s with token %q: %d, want %d: %s", name, token, resp.StatusCode, want, got)
			}
		}
	}
	if len(k.calls) > 0 {
		t.Errorf("the kernel was reached: %v", k.calls)
	}
}

func TestProblemForEveryKind(t *testing.T) {
	url := start(t, &kernel{}, gate.Options{})
	for kind, status := range map[sdk.FaultKind]int{
		sdk.Invalid: 422, sdk.NotFound: 404, sdk.Conflict: 409, sdk.Unauthenticated: 401, sdk.Denied: 403,
		sdk.TooLarge: 413, sdk.Exhausted: 429, sdk.Unplaceable: 409, sdk.Timeout: 504, sdk.Unavailable: 503,
		sdk.Corrupt: 500, sdk.Unsupported: 501, sdk.Internal: 500,
	} {
		resp, body := do(t, "GET", url+"/v1/tasks/"+string(kind), "a", "", "")
		var p sdk.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Fatalf("%s: %v: %s", kind, err, body)
		}
		if resp.StatusCode != status || p.Status != status || resp.Header.Get("Content-Type") != gate.ContentProblem || p.Title == "" {
			t.Errorf("%s: %d %s %s", kind, resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
		want := sdk.Fault{Kind: kind, Subject: "task/x", Message: "went wrong", Why: "of this", Fix: "do that", Field: "place"}
		if f := p.Fault(); *f != want {
			t.Errorf("%s: fault came back as %+v", kind, *f)
		}
	}
}

// What is no fault may hold secrets in its text; a panic must not end the
// server.
func TestDefectsStayInside(t *testing.T) {
	var log strings.Builder
	url := start(t, &kernel{}, gate.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	for _, id := range []string{"plain", "panic"} {
		resp, body := do(t, "GET", url+"/v1/tasks/"+id, "a", "", "")
		if resp.StatusCode != 500 || strings.Contains(body, "closed pipe") || strings.Contains(body, "planted") {
			t.Errorf("%s: %d %s", id, resp.StatusCode, body)
		}
	}
	if resp, _ := do(t, "GET", url+"/livez", "", "", ""); resp.StatusCode != 200 {
		t.Error("not alive after a panic")
	}
}

func TestBadInputNamesThePlace(t *testing.T) {
	k := &kernel{err: sdk.Errorf(sdk.Unavailable, "", "no leader")}
	url := start(t, k, gate.Options{})
	deep := strings.Repeat("[", 70) + strings.Repeat("]", 70)
	doc := func(s string) string { return `{"documents":[` + s + `]}` }
	for _, c := range []struct {
		method, path, typ, body string
		status                  int
		want                    string // in the answer
	}{
		{"GET", "/v1/nothing", "", "", 404, "no such place"},
		{"DELETE", "/v1/nodes", "", "", 405, "use GET"},
		{"PATCH", "/v1/documents", "", "", 405, "use GET, PUT"},
		{"GET", "/readyz", "", "", 503, "no leader"},
		{"GET", "/v1/tasks?stat=running", "", "", 400, `"field":"stat"`},
		{"GET", "/v1/tasks?state=runing", "", "", 400, `"field":"state"`},
		{"GET", "/v1/tasks?state=live&state=ended", "", "", 400, "2 times"},
		{"GET", "/v1/documents?role=Eng", "", "", 400, `"field":"role"`},
		{"GET", "/v1/events?after=soon", "", "", 400, `"field":"after"`},
		{"GET", "/v1/tasks/x/logs?stream=both", "", "", 400, `"field":"stream"`},
		{"GET", "/v1/tasks/x/logs?since=yesterday", "", "", 400, `"field":"since"`},
		{"GET", "/v1/tasks/x/logs?match=a%5Bb", "", "", 400, `missing closing ] at character 2: [b`},
		{"GET", "/v1/tasks/x/logs?tail=few", "", "", 400, `"field":"tail"`},
		{"GET", "/v1/nodes", "", "x", 413, "without a body"},
		{"PUT", "/v1/documents", "", "", 400, "ends before"},
		{"PUT", "/v1/documents", "", "{", 400, "ends before"},
		{"PUT", "/v1/documents", "", "{\n\n!}", 400, "line 3"},
		{"PUT", "/v1/documents", "", "{} {}", 400, "goes on"},
		{"PUT", "/v1/documents", "", "{}", 400, "names no document"},
		{"PUT", "/v1/documents", "text/yaml", "a: 1", 415, "application/cue"},
		{"PUT", "/v1/documents", "", `{"documants":[]}`, 400, `"field":"documants"`},
		{"PUT", "/v1/documents", "", `{"documents":3}`, 400, `"field":"documents"`},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a","body":` + deep + `}`), 400, "deeper"},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"A","body":{}}`), 400, "documents[0]"},
		{"PUT", "/v1/documents", "", doc(`{"kind":"","name":"a","body":{}}`), 400, "no kind"},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a","body":[]}`), 400, `"subject":"service/a"`},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a"}`), 400, "JSON object"},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a","body":{"x":{"y":1,"y":2}}}`), 400, `"field":"body.x.y"`},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a","body":{}},{"kind":"service","name":"a","body":{}}`), 400, "given twice"},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a","body":{"bad":1}}`), 422, `"field":"bad"`},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a","role":"eng","body":{"role":"ops"}}`), 422, `"field":"role"`},
		{"PUT", "/v1/documents", "", doc(`{"kind":"role","name":"eng/web","role":"eng","body":{}}`), 422, `"field":"role"`},
		{"PUT", "/v1/documents?if_revision=x", "", doc(`{"kind":"service","name":"a","body":{}}`), 400, "log index"},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a","body":{}},{"kind":"service","name":"secret","body":{}}`), 403, "may not apply"},
		{"PUT", "/v1/documents", "", doc(`{"kind":"service","name":"a","body":{"role":"secret"}}`), 403, "may not use"},
		{"POST", "/v1/documents/service/a/scale", "", `{}`, 400, `"field":"instances"`},
		{"POST", "/v1/documents/service/a/scale", "", `{"instances":-1}`, 422, "negative"},
		{"POST", "/v1/documents/service/a/scale", "", `{"instances":1.5}`, 400, "instances"},
		{"POST", "/v1/tasks/x/kill", "", `{"grace":"soon"}`, 400, "1m30s"},
		{"POST", "/v1/policy/use", "", ``, 400, `"field":"name"`},
		{"PUT", "/v1/plugins", "application/json", `{}`, 415, "application/wasm"},
		{"PUT", "/v1/plugins", "application/wasm", ``, 400, "no module"},
		{"POST", "/v1/join", "", `{"token":"x"}`, 400, `"field":"csr"`},
	} {
		resp, body := do(t, c.method, url+c.path, "a", c.typ, c.body)
		if resp.StatusCode != c.status || !strings.Contains(body, strings.ReplaceAll(c.want, `"no`, `\"no`)) {
			t.Errorf("%s %s %.60s\n got %d %s\nwant %d with %s", c.method, c.path, c.body, resp.StatusCode, body, c.status, c.want)
		}
	}
	if len(k.calls) > 0 {
		t.Errorf("the kernel was reached: %v", k.calls)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	url := start(t, &kernel{}, gate.Options{Patience: 200 * time.Millisecond})
	big := strings.Repeat(" ", gate.MaxBody+1)
	if resp, body := do(t, "PUT", url+"/v1/documents", "a", "", big); resp.StatusCode != 413 {
		t.Errorf("declared length: %d %s", resp.StatusCode, body)
	}
	r, _ := http.NewRequest("PUT", url+"/v1/documents", io.MultiReader(strings.NewReader(big))) // no length: chunked
	r.Header.Set("Authorization", "Bearer a")
	if resp, err := http.DefaultClient.Do(r); err != nil || resp.StatusCode != 413 {
		t.Errorf("chunked: %v %v", resp, err)
	}

	// A body that never ends arriving. Without a deadline this would hang.
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "PUT /v1/documents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nContent-Length: 10\r\n\r\n{")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
		t.Errorf("slow body: %v %.200q", err, answer)
	}
}

func TestApply(t *testing.T) {
	k := &kernel{}
	url := start(t, k, gate.Options{})
	resp, body := do(t, "PUT", url+"/v1/documents?dry_run=1", "a", "application/json; charset=utf-8",
		`{"if_revision":5,"documents":[{"kind":"service","name":"web","source":"src","body":{"role":"eng", "n":1.50,"m":{"b":"<","a":null}}}]}`)
	if resp.StatusCode != 200 || body != `[{"ref":{"kind":"service","name":"web"},"revision":7,"version":1,"changed":true}]`+"\n" {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	d := k.applied[0]
	if got, want := string(d.Body), `{"m":{"a":null,"b":"<"},"n":1.50,"role":"eng"}`; got != want {
		t.Errorf("canonical body\n got %s\nwant %s", got, want)
	}
	if d.Role != "eng" || d.Source != "src" || len(d.Digest) != 71 || !k.options.DryRun || *k.options.IfRevision != 5 {
		t.Errorf("%+v %+v", d, k.options)
	}
	if resp, body = do(t, "PUT", url+"/v1/documents", "a", "application/cue", "x: 1"); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if d := k.applied[0]; d.Source != "x: 1" || string(d.Body) != `{"a":2,"b":1}` {
		t.Errorf("%+v", d)
	}
}

func TestActionsReachTheKernel(t *testing.T) {
	k := &kernel{}
	url := start(t, k, gate.Options{})
	for _, c := range [][4]string{
		{"DELETE", "/v1/documents/service/web", "", "remove service/web"},
		{"DELETE", "/v1/documents/role/eng%2Fweb", "", "remove role/eng/web"},
		{"POST", "/v1/documents/service/web/stop", "", "stop service/web"},
		{"POST", "/v1/documents/service/web/scale", `{"instances":0}`, "scale service/web"},
		{"POST", "/v1/tasks/web.1/kill", "", "kill web.1 0s"},
		{"POST", "/v1/tasks/web.1/kill", `{"grace":"3s"}`, "kill web.1 3s"},
		{"POST", "/v1/policy/use", `{"name":"binpack"}`, "use binpack"},
		{"POST", "/v1/policy/undo", "", "undo"},
	} {
		k.calls = nil
		resp, body := do(t, c[0], url+c[1], "a", "", c[2])
		if resp.StatusCode != 200 || len(k.calls) != 1 || k.calls[0] != c[3] {
			t.Errorf("%s %s: %d %s, calls %v", c[0], c[1], resp.StatusCode, body, k.calls)
		}
	}
}

func TestListsAreSortedAndSayTheirIndex(t *testing.T) {
	url := start(t, &kernel{}, gate.Options{})
	resp, body := do(t, "GET", url+"/v1/documents?role=eng", "a", "", "")
	var docs []sdk.Document
	if err := json.Unmarshal([]byte(body), &docs); err != nil || len(docs) != 2 || docs[0].Ref.Name != "api" || docs[1].Ref.Name != "web" {
		t.Errorf("%v %s", err, body)
	}
	if got := resp.Header.Get(sdk.IndexHeader); got != "42" {
		t.Errorf("index %q", got)
	}
	for _, path := range []string{"tasks", "nodes", "roles", "plugins", "offers"} {
		if resp, body := do(t, "GET", url+"/v1/"+path, "a", "", ""); body != "[]\n" || resp.Header.Get(sdk.IndexHeader) != "42" {
			t.Errorf("%s: %q %v", path, body, resp.Header)
		}
	}
	if _, body := do(t, "GET", url+"/v1/roles/eng/web", "a", "", ""); !strings.Contains(body, `"path":"eng/web"`) {
		t.Error(body)
	}
	if _, body := do(t, "GET", url+"/v1/roles/", "a", "", ""); !strings.Contains(body, `"path":""`) {
		t.Error(body)
	}
}

func TestMetricsCountRequests(t *testing.T) {
	url := start(t, &kernel{}, gate.Options{})
	do(t, "GET", url+"/v1/nodes", "a", "", "")
	do(t, "GET", url+"/v1/nodes", "m", "", "")
	_, body := do(t, "GET", url+"/metrics", "a", "", "")
	for _, want := range []string{`route="/v1/nodes",class="2xx"} 1`, `route="/v1/nodes",class="4xx"} 1`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
}

func TestPositions(t *testing.T) {
	for _, s := range []string{"0.0", "12.3", "12"} {
		if p, err := sdk.ParsePosition(s); err != nil || p.String() != s {
			t.Errorf("%s: %v %v", s, p, err)
		}
	}
	for _, s := range []string{"", "x", "1.", ".1", "1.2.3", "-1", "1.99999999999"} {
		var f *sdk.Fault
		if _, err := sdk.ParsePosition(s); !errors.As(err, &f) || f.Kind != sdk.Invalid {
			t.Errorf("%q: %v", s, err)
		}
	}
	if p, _ := sdk.ParsePosition("0"); p != (sdk.Position{}) {
		t.Errorf("0 is %v, not before everything", p)
	}
}
