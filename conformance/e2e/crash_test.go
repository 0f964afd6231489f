package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Addresses of the servers of these tests, which have a network of their own.
const (
	apiAddress   = "127.0.0.1:4600"
	agentAddress = "127.0.0.1:4601"
)

// steady declares instances of examples/hello.
func steady(name string, instances int, more string) string {
	return fmt.Sprintf(`services: %q: {
	instances: %d
	run: container: image: %q
	resources: {cpus: 0.01, mem: 32Mi}
	ports: http: {}
	checks: alive: {http: {port: "http", path: "/healthz"}, interval: "200ms"}
	backoff: first: "100ms"
	%s
}
`, name, instances, image("hello"), more)
}

func allHealthy(n int) func([]sdk.TaskView) bool {
	return func(tasks []sdk.TaskView) bool {
		well := 0
		for _, t := range tasks {
			if t.Status.State == sdk.Running && t.Status.Health == sdk.Healthy && !t.Unreachable {
				well++
			}
		}
		return well == n && len(tasks) == n
	}
}

// pids returns the processes of tasks by their ids.
func pids(tasks []sdk.TaskView) string {
	out := make([]string, len(tasks))
	for i, t := range tasks {
		out[i] = fmt.Sprintf("%s=%d", t.ID, t.Status.PID)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func url(t *sdk.TaskView, path string) string {
	return fmt.Sprintf("http://%s:%d%s", t.Address, t.Ports[0].Port, path)
}

// TestAgentKilled kills an agent, lets its tasks go on and end without it, and
// starts it again: it finds the same processes, knows what they wrote, and how
// the one ended that ended.
func TestAgentKilled(t *testing.T) {
	c := newCluster(t)
	c.server(apiAddress, agentAddress)
	agent := c.agent("n1", apiAddress)
	c.apply(steady("calm", 2, "")+steady("brittle", 1, `backoff: max: "1s"`), "--wait=1m")
	before := c.untilTasks("calm", "health", allHealthy(2))
	brittle := c.untilTasks("brittle", "health", allHealthy(1))[0]

	agent.end(syscall.SIGKILL)
	const requests = 300
	for i := range requests {
		r, err := http.Get(url(&before[i%2], fmt.Sprintf("/?n=%d.", i)))
		if err != nil {
			t.Fatalf("request %d without an agent: %v", i, err)
		}
		r.Body.Close()
	}
	if _, err := http.Get(url(&brittle, "/crash")); err == nil {
		t.Fatal("a crash was answered")
	}

	c.agent("n1", apiAddress)
	c.untilTasks("brittle", "a replacement of the crashed task", func(tasks []sdk.TaskView) bool {
		return allHealthy(1)(tasks) && tasks[0].ID != brittle.ID
	})
	if out := c.drupe("show", string(brittle.ID)); !strings.Contains(out, "exited: code 1") {
		t.Errorf("how the task ended that ended without its agent:\n%s", out)
	}
	after := c.untilTasks("calm", "health", allHealthy(2))
	if pids(after) != pids(before) {
		t.Errorf("processes were %s and are %s", pids(before), pids(after))
	}
	logs := c.drupe("logs", "calm", "--tail", "-1")
	for i := range requests {
		if n := strings.Count(logs, fmt.Sprintf("GET /?n=%d. ", i)); n != 1 {
			t.Errorf("request %d is %d times in the logs", i, n)
		}
	}
	c.drupe("rm", "calm", "brittle", "--yes")
	c.drupe("wait", "service/calm", "service/brittle", "--for", "gone", "--timeout", "1m")
}

// TestServerKilled kills the server at random moments while documents are
// applied: what was acknowledged is there, runs exactly once, and what ran
// before runs on in the same processes.
func TestServerKilled(t *testing.T) {
	const rounds = 4
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	c := newCluster(t)
	server := c.server(apiAddress, agentAddress)
	c.agent("n1", apiAddress)
	c.agent("n2", apiAddress)
	c.apply(steady("calm", 2, ""), "--wait=1m")
	before := pids(c.untilTasks("calm", "health", allHealthy(2)))

	acknowledged := map[string]string{} // name → applied answer
	for round := range rounds {
		killed := make(chan struct{})
		timer := time.AfterFunc(time.Duration(random.IntN(700))*time.Millisecond, func() {
			server.end(syscall.SIGKILL)
			close(killed)
		})
		for i := 0; ; i++ {
			name := fmt.Sprintf("r%d-%d", round, i)
			file := filepath.Join(c.dir, name+".cue")
			text := fmt.Sprintf("services: %q: {\n\trun: container: {image: %q, args: [\"sleep\"]}\n\tresources: {cpus: 0.001, mem: 16Mi}\n\tgrace: \"10ms\"\n}\n", name, image("misbehave"))
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, _, code := c.run("apply", "-f", file, "-o", "json"); code == 0 {
				acknowledged[name] = out
				continue
			}
			break
		}
		<-killed
		timer.Stop()
		server = c.server(apiAddress, agentAddress)
		t.Logf("round %d: %d acknowledged so far", round, len(acknowledged))
	}

	var names []string
	for name, answer := range acknowledged {
		out, _, code := c.run("show", "service/"+name, "-o", "json")
		if code != 0 {
			t.Errorf("%s was acknowledged and is not there: exit code %d\n%s", name, code, answer)
			continue
		}
		names = append(names, "service/"+name)
		for _, field := range []string{`"version": 1,`, `"revision": `} {
			if !strings.Contains(out, field) {
				t.Errorf("%s: no %s in %s", name, field, out)
			}
		}
	}
	c.drupe(append([]string{"wait", "--timeout", "1m"}, names...)...)
	if after := pids(c.untilTasks("calm", "health", allHealthy(2))); after != before {
		t.Errorf("processes were %s and are %s", before, after)
	}
	// Also what was not acknowledged may have been applied; nothing runs twice.
	c.until("one process for each task", func() bool {
		live := 0
		for line := range strings.Lines(c.drupe("ps")) {
			if strings.HasPrefix(line, "  r") {
				live++
			}
		}
		n := 0
		list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range list {
			if b, _ := os.ReadFile(f); string(b) == "/bin/misbehave\x00sleep\x00" && c.owns(filepath.Dir(f)) {
				n++
			}
		}
		return n == live && live >= len(acknowledged)
	})
	if len(acknowledged) == 0 {
		t.Error("nothing was acknowledged: nothing was tried")
	}
}

// owns reports whether a process's cgroup belongs to a node of these tests.
func (c *cluster) owns(proc string) bool {
	b, _ := os.ReadFile(filepath.Join(proc, "cgroup"))
	keepers.Lock()
	defer keepers.Unlock()
	return slices.ContainsFunc(keepers.names, func(n string) bool { return strings.Contains(string(b), n) })
}

// TestNodeGone takes a node away for good, it seems: its task is replaced
// elsewhere in the time its document says. When it comes back, the one too many
// is ended.
func TestNodeGone(t *testing.T) {
	c := newCluster(t)
	c.server(apiAddress, agentAddress)
	agents := map[string]*process{"n1": c.agent("n1", apiAddress), "n2": c.agent("n2", apiAddress)}
	c.apply(steady("wanderer", 1, `unreachable: replace_after: "1s"`), "--wait=1m")
	old := c.untilTasks("wanderer", "health", allHealthy(1))[0]

	agents[old.NodeName].end(syscall.SIGKILL)
	var fresh sdk.TaskView
	c.untilTasks("wanderer", "a replacement on the other node", func(tasks []sdk.TaskView) bool {
		for _, x := range tasks {
			if x.NodeName != old.NodeName && x.Status.Health == sdk.Healthy {
				fresh = x
			}
		}
		return fresh.ID != ""
	})
	if out := c.drupe("node", "ls"); !strings.Contains(out, "unreachable") {
		t.Errorf("no node is unreachable:\n%s", out)
	}
	if !alive(int(old.Status.PID)) {
		t.Error("a task died with the agent of its node")
	}

	c.agent(old.NodeName, apiAddress)
	tasks := c.untilTasks("wanderer", "the one too many to end", func(tasks []sdk.TaskView) bool { return allHealthy(1)(tasks) })
	c.until("both nodes", func() bool { return !strings.Contains(c.drupe("node", "ls"), "unreachable") })
	gone := old.Status.PID
	if tasks[0].ID == old.ID {
		gone = fresh.Status.PID
	}
	c.until("the process to end", func() bool { return !alive(int(gone)) })
	c.drupe("rm", "wanderer", "--yes")
	c.drupe("wait", "service/wanderer", "--for", "gone", "--timeout", "1m")
}
