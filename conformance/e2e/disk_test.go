package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk lets a server's disk become full: a change is refused and says
// why, what runs goes on, and once there is room again everything works and
// nothing acknowledged is lost, not even by a kill -9.
func TestFullDisk(t *testing.T) {
	c := newCluster(t)
	data := filepath.Join(c.dir, "server")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	// The small disk is seen by the server only, and is gone with it.
	script := fmt.Sprintf(`mount --make-rprivate / && mount -t tmpfs -o size=128M none %[1]q || exit 1
while read -r line; do %[2]q server --data %[1]q --name s1 --listen %[3]s --agents %[4]s; done`,
		data, drupe, apiAddress, agentAddress)
	again, server := c.shell(t, script)
	again()
	server.says("nodes join with")
	inside := fmt.Sprintf("/proc/%d/root%s", server.cmd.Process.Pid, data)
	token, err := os.ReadFile(filepath.Join(inside, "join.token"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "join.token"), token, 0o600); err != nil {
		t.Fatal(err)
	}
	c.agent("n1", apiAddress)
	c.apply(steady("calm", 1, ""), "--wait=1m")
	before := pids(c.untilTasks("calm", "health", allHealthy(1)))

	full := filepath.Join(inside, "full")
	if err := fill(full); err != nil {
		t.Fatal(err)
	}
	var errs string
	var acknowledged []string
	c.until("a refusal", func() bool {
		name := fmt.Sprintf("late-%d", len(acknowledged))
		file := filepath.Join(c.dir, name+".cue")
		text := fmt.Sprintf("services: %q: {\n\tinstances: 0\n\trun: container: image: \"oci:nowhere\"\n\tenv: TEXT: %q\n}\n", name, strings.Repeat("much ", 10_000))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var code int
		if _, errs, code = c.run("apply", "-f", file); code == 0 {
			acknowledged = append(acknowledged, name)
		}
		return code != 0
	})
	t.Logf("after %d documents: %s", len(acknowledged), errs)
	if !strings.Contains(errs, "the disk is nearly full") {
		t.Errorf("the refusal does not name the full disk: %s", errs)
	}
	if out, _, code := c.run("ps"); code == 0 && !strings.Contains(out, "calm") {
		t.Errorf("the server forgot what runs:\n%s", out)
	}

	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	c.until("changes to work again", func() bool {
		_, _, code := c.run("scale", "calm", "2")
		return code == 0
	})
	c.drupe("wait", "calm", "--for", "healthy", "--timeout", "1m")

	// Once more from what is on that disk.
	killServer(t, data)
	server.reset()
	again()
	server.says("nodes join with")
	for _, name := range acknowledged {
		c.drupe("show", "service/"+name)
	}
	after := pids(c.untilTasks("calm", "health", allHealthy(2)))
	if !strings.Contains(after, before) {
		t.Errorf("processes were %s and are %s", before, after)
	}
	c.drupe("rm", "calm", "--yes")
	c.drupe("wait", "service/calm", "--for", "gone", "--timeout", "1m")
	killServer(t, data)
}

// shell runs a script with mounts of its own. Each call of again lets its read
// return once.
func (c *cluster) shell(t *testing.T, script string) (again func(), p *process) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdin = r
	return func() {
		if _, err := w.WriteString("\n"); err != nil {
			t.Fatal(err)
		}
	}, c.startCommand("server", cmd, syscall.CLONE_NEWNS)
}

// fill writes a file until there is no room for more.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 4096, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
	}
	return nil
}

// killServer kills the server with a data folder, -9.
func killServer(t *testing.T, data string) {
	t.Helper()
	found := false
	for _, pid := range processes(func(s string) bool { return strings.Contains(s, "server\x00--data\x00"+data) }) {
		found = true
		p, err := os.FindProcess(pid)
		if err == nil {
			p.Kill()
		}
	}
	if !found {
		t.Error("there is no server to kill")
	}
}
