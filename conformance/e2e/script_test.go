package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/drupe-os/drupe/sdk"
)

// TestScripts runs the scripts side by side against one cluster of three nodes.
// Each uses names of its own. Beside testscript's own commands there are
//
//	code N command...       runs a command and demands its exit code
//	until REGEXP command... runs a command again and again until its output matches
//	http NAME PATH          asks a task of a service for a page
//	tcp NAME TEXT           sends a line to a task's port and prints a line of the answer
//	kill9 NAME              kills the process of the service's first task
//	position VAR            the place of the last event that was printed as JSON
//	neverbelow N NAME POS   replays a service's events: never fewer than N were healthy
//	image KIND FOLDER       makes a broken image
//	occupy PORT             listens on a port until the script ends
func TestScripts(t *testing.T) {
	c := startDev(t, 3)
	testscript.Run(t, testscript.Params{
		Dir:         "testdata",
		WorkdirRoot: c.dir,
		Setup:       c.setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "until": until, "http": askHTTP, "tcp": askTCP, "kill9": kill9, "position": position,
			"neverbelow": neverBelow, "image": makeImage, "occupy": occupy,
		},
	})
}

// setup makes a script's commands speak to the cluster.
func (c *cluster) setup(env *testscript.Env) error {
	for _, kv := range c.env {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "DRUPE_") || name == "COLUMNS" || name == "NO_COLOR" {
			env.Setenv(name, value)
		}
	}
	env.Setenv("PATH", filepath.Dir(drupe)+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("WASM", filepath.Join(root, "bin", "wasm"))
	env.Setenv("EXAMPLES", filepath.Join(root, "examples"))
	return os.Symlink(filepath.Join(root, "bin", "images"), filepath.Join(env.WorkDir, "images"))
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] until REGEXP command args...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out []byte
	ok := again(func() bool {
		cmd := command(ts, args[1], args[2:]...)
		out, _ = cmd.CombinedOutput()
		return want.Match(out) != neg
	})
	ts.Stdout().Write(out)
	if !ok {
		ts.Fatalf("waited %s for %q; it says\n%s", patience, args[0], out)
	}
}

// command is one that a script's own custom command runs.
func command(ts *testscript.TestScript, name string, args ...string) *exec.Cmd {
	path := name
	if name == "drupe" {
		path = drupe
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), os.Environ()
	for _, name := range []string{"DRUPE_CONFIG", "DRUPE_CACHE", "COLUMNS", "NO_COLOR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	return cmd
}

// again tries until something is so, and reports whether it was in time.
func again(ok func() bool) bool {
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			return false
		}
		time.Sleep(100 * time.Millisecond)
	}
	return true
}

// running returns the live tasks of a service that run.
func running(ts *testscript.TestScript, name string) (out []sdk.TaskView) {
	b, err := command(ts, "drupe", "ps", name, "-o", "json").Output()
	ts.Check(err)
	var r struct{ Tasks []sdk.TaskView }
	ts.Check(json.Unmarshal(b, &r))
	for _, t := range r.Tasks {
		if t.Status.State == sdk.Running {
			out = append(out, t)
		}
	}
	if len(out) == 0 {
		ts.Fatalf("no task of %s runs", name)
	}
	return out
}

func askHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: http NAME PATH")
	}
	t := running(ts, args[0])[0]
	r, err := http.Get(fmt.Sprintf("http://%s:%d%s", t.Address, t.Ports[0].Port, args[1]))
	ts.Check(err)
	defer r.Body.Close()
	_, err = io.Copy(ts.Stdout(), r.Body)
	ts.Check(err)
}

func askTCP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tcp NAME TEXT")
	}
	t := running(ts, args[0])[0]
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", t.Address, t.Ports[0].Port), patience)
	ts.Check(err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "%s\r\n", args[1])
	line, err := bufio.NewReader(conn).ReadString('\n')
	ts.Check(err)
	io.WriteString(ts.Stdout(), line)
}

func kill9(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kill9 NAME")
	}
	p, err := os.FindProcess(int(running(ts, args[0])[0].Status.PID))
	ts.Check(err)
	ts.Check(p.Kill())
}

func position(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: position VAR")
	}
	last := ""
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		last = line
	}
	var e sdk.Event
	ts.Check(json.Unmarshal([]byte(last), &e))
	ts.Setenv(args[0], sdk.PositionOf(&e).String())
}

func neverBelow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: neverbelow N NAME POSITION")
	}
	least, err := strconv.Atoi(args[0])
	ts.Check(err)
	from, err := sdk.ParsePosition(args[2])
	ts.Check(err)
	out, err := command(ts, "drupe", "events", args[1], "-o", "json").Output()
	ts.Check(err)
	well, seen := map[sdk.TaskID]bool{}, 0
	for line := range strings.Lines(string(out)) {
		var e sdk.Event
		ts.Check(json.Unmarshal([]byte(line), &e))
		if e.Task == nil {
			continue
		}
		well[e.Task.ID] = e.Task.Status.State == sdk.Running && e.Task.Status.Health == sdk.Healthy
		n := 0
		for _, ok := range well {
			if ok {
				n++
			}
		}
		if !sdk.PositionOf(&e).Before(from) {
			seen++
			if n < least {
				ts.Fatalf("%d healthy after %s", n, line)
			}
		}
	}
	if seen == 0 {
		ts.Fatalf("no task of %s changed after %s", args[1], args[2])
	}
}

func occupy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: occupy PORT")
	}
	l, err := net.Listen("tcp", ":"+args[0])
	ts.Check(err)
	ts.Defer(func() { l.Close() })
}
