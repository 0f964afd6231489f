package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/sdk"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Argument {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

const good = `services: web: {
	run: container: image: "oci:/srv/images/web"
	role: "eng/web"
}
`

// bombs are small files that ask for endless time or memory.
func bombs() map[string]string {
	var conjuncts, fields strings.Builder
	for i := range 14 {
		fmt.Fprintf(&conjuncts, "x: {a%d: 1} | {b%d: 2} | {c%d: 3}\n", i, i, i)
	}
	fields.WriteString(`a0: "` + strings.Repeat("x", 100) + "\"\n")
	for i := range 8 {
		fmt.Fprintf(&fields, "a%d: \"%s\"\n", i+1, strings.Repeat(fmt.Sprintf(`\(a%d)`, i), 10))
	}
	return map[string]string{
		"range":         "import \"list\"\nx: list.Range(0, 3000000, 1)\n",
		"repeat":        "import \"list\"\nx: [for i in list.Repeat([1, 2], 1000000) {i + 1}]\n",
		"disjunctions":  conjuncts.String(),
		"interpolation": fields.String(),
	}
}

func TestBombs(t *testing.T) {
	p := New(Config{})
	defer p.Close()
	ctx := context.Background()
	for name, text := range bombs() {
		t.Run(name, func(t *testing.T) {
			if _, err := p.Evaluate(ctx, []byte(good)); err != nil {
				t.Fatal(err)
			}
			pid := current(p)
			began := time.Now()
			_, err := p.Evaluate(ctx, []byte(text))
			var f *sdk.Fault
			if !errors.As(err, &f) || f.Kind != sdk.Exhausted && f.Kind != sdk.Timeout || f.Why == "" || f.Fix == "" {
				t.Errorf("%#v", err)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			if err := unix.Kill(pid, 0); err != unix.ESRCH {
				t.Errorf("worker %d: %v", pid, err)
			}
			t.Logf("%v after %s", err, time.Since(began).Round(time.Millisecond))
			docs, err := p.Evaluate(ctx, []byte(good))
			if err != nil || len(docs) != 1 {
				t.Errorf("the next request: %v", err)
			}
		})
	}
}

// current is the process id of the one worker of a pool.
func current(p *Pool) int {
	w := <-p.slots
	defer func() { p.slots <- w }()
	if w == nil {
		return 0
	}
	return w.cmd.Process.Pid
}

func TestAnswers(t *testing.T) {
	t.Setenv("CUE_EXPERIMENT", "nonsense=7")
	p := New(Config{})
	defer p.Close()
	ctx := context.Background()
	docs, err := p.Evaluate(ctx, []byte(good))
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	d := docs[0]
	if d.Ref != (sdk.Ref{Kind: "service", Name: "web"}) || d.Role != "eng/web" || d.Source != good || !strings.HasPrefix(string(d.Digest), "sha256:") {
		t.Errorf("%+v", d)
	}
	if err := p.Check(ctx, "service", "web", d.Body); err != nil {
		t.Error(err)
	}
	again, err := p.Canonical(ctx, "service", "web", []byte(`{ "role":"eng/web", "run":{"container":{"image":"oci:/srv/images/web"}}, "priority":0 }`))
	if err != nil || again.Digest != d.Digest {
		t.Errorf("%s, %v", again.Body, err)
	}
	for _, c := range []struct{ kind, name, body, field string }{
		{"service", "web", `{"run":{"container":{"image":"oci:/x","comand":[]}}}`, "run.container.comand"},
		{"service", "Web", string(d.Body), ""},
		{"service", "web", `{"run":`, ""},
		{"service", "web", `{"run":{"container":{"image":"oci:relative"}}}`, "run.container.image"},
		{"pod", "web", `{}`, ""},
		{"role", "eng//web", `{}`, ""},
		{"job", "j", `{"run":{"container":{"image":"oci:/x"}},"schedule":{"cron":"x"}}`, "schedule.cron"},
	} {
		var f *sdk.Fault
		if err := p.Check(ctx, c.kind, c.name, []byte(c.body)); !errors.As(err, &f) || f.Kind != sdk.Invalid || f.Field != c.field {
			t.Errorf("%s: %#v", c.body, err)
		}
	}
	_, diags, err := p.Diagnose(ctx, "web.cue", []byte("services: web: {\n\tinstances: \"3\"\n\trole: \"A\"\n}\n"))
	if err != nil || len(diags) != 3 || diags[1].File != "web.cue" || diags[1].Line != 2 {
		t.Errorf("%+v, %v", diags, err)
	}
	if _, err := p.Evaluate(ctx, []byte("import \"drupe.dev/../../etc\"\n"+good)); sdk.KindOf(err) != sdk.Invalid {
		t.Errorf("an import that climbs: %v", err)
	}
}

func TestRecycled(t *testing.T) {
	p := New(Config{Documents: 3})
	defer p.Close()
	seen := map[int]bool{}
	for range 6 {
		before := current(p)
		if err := p.Check(context.Background(), "role", "eng", []byte("{}")); err != nil {
			t.Fatal(err)
		}
		seen[max(before, current(p))] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d workers for six requests, want one for three each", len(seen))
	}
}

func TestGrown(t *testing.T) {
	p := New(Config{Growth: 1})
	defer p.Close()
	if _, err := p.Evaluate(context.Background(), []byte(good)); err != nil {
		t.Fatal(err)
	}
	if pid := current(p); pid != 0 {
		t.Errorf("worker %d is kept though it grew", pid)
	}
}

func TestConcurrent(t *testing.T) {
	p := New(Config{Workers: 2})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			text := strings.Replace(good, "web:", fmt.Sprintf("web-%d:", i), 1)
			text = strings.Replace(text, "web-", "\"web-", 1)
			text = strings.Replace(text, fmt.Sprintf("web-%d:", i), fmt.Sprintf("web-%d\":", i), 1)
			docs, err := p.Evaluate(context.Background(), []byte(text))
			if err != nil || len(docs) != 1 || docs[0].Ref.Name != fmt.Sprintf("web-%d", i) {
				t.Errorf("%d: %v, %v", i, docs, err)
			}
		})
	}
	wg.Wait()
	p.Close()
	if err := p.Check(context.Background(), "role", "eng", []byte("{}")); sdk.KindOf(err) != sdk.Unavailable {
		t.Errorf("after Close: %v", err)
	}
}

func TestGivenUp(t *testing.T) {
	p := New(Config{})
	defer p.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := p.Evaluate(ctx, []byte(bombs()["disjunctions"])); sdk.KindOf(err) != sdk.Timeout {
		t.Errorf("%v", err)
	}
	if err := p.Check(context.Background(), "role", "eng", []byte("{}")); err != nil {
		t.Error(err)
	}
}

func TestNoWorker(t *testing.T) {
	for _, program := range []string{"/nonexistent/program", "/bin/false"} {
		p := New(Config{Program: []string{program}})
		if err := p.Check(context.Background(), "role", "eng", []byte("{}")); sdk.KindOf(err) != sdk.Unavailable {
			t.Errorf("%s: %v", program, err)
		}
		p.Close()
	}
}

// TestCgroup runs a bomb under a memory cgroup that is the test's own.
func TestCgroup(t *testing.T) {
	parent := ""
	for _, root := range []string{"/sys/fs/cgroup/memory", "/sys/fs/cgroup"} {
		dir := filepath.Join(root, fmt.Sprintf("drupe-test-cue-%d", os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		})
		if g, err := newGroup(dir, 1<<30); err == nil {
			g.remove()
			parent = dir
			break
		}
	}
	if parent == "" {
		t.Skip("no memory cgroup can be made here")
	}
	p := New(Config{Cgroup: parent})
	defer p.Close()
	if _, err := p.Evaluate(context.Background(), []byte(bombs()["interpolation"])); sdk.KindOf(err) != sdk.Exhausted {
		t.Errorf("%v", err)
	}
	if _, err := p.Evaluate(context.Background(), []byte(good)); err != nil {
		t.Error(err)
	}
}

// BenchmarkCheck is a check of a small service as a server does it.
func BenchmarkCheck(b *testing.B) {
	p := New(Config{Documents: 1 << 30})
	defer p.Close()
	docs, err := p.Evaluate(context.Background(), []byte(good))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := p.Check(context.Background(), "service", "web", docs[0].Body); err != nil {
			b.Fatal(err)
		}
	}
}
