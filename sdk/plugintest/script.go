package plugintest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

var update = flag.Bool("update", false, "write what the framework did into the script files")

// Run runs every file of testdata that matches pattern as one sub-test: a
// script on a fresh Kernel whose framework is already started.
//
// A script is a txtar archive. Its first part holds lines of three sorts:
//
//	# a comment
//	> a step
//	what the framework then does, one action a line
//
// Its files are documents' JSON bodies. With -update the lines between the
// steps are replaced by what happened. The steps:
//
//	apply KIND/NAME FILE [role=R]     declare or change a document
//	stop|resume|remove KIND/NAME
//	launch [DEMAND] [n=N] [node=N]    turn demands into tasks
//	task ID STATE [healthy|unhealthy|unready] [reason=R] [exit=N]
//	up                                every staging or starting task runs and is healthy
//	lost ID, found ID                 its node is unreachable, is back
//	full ID, roomy ID                 its node has no room to resize it, has again
//	offer DEMAND NODE NAME=VALUE...   as in cpus=0.5 mem=67108864
//	rescind N
//	advance DURATION                  let time pass, fire timers
//	at MOMENT                         let time pass until RFC 3339 MOMENT
//	hold, deliver                     gather events into one call
//	crash                             start a fresh instance on what is committed
//	show                              print all that is committed
func Run(t *testing.T, pattern string, plugin sdk.PluginName, make func() framework.Framework) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s (%v)", pattern, err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), filepath.Ext(f)), func(t *testing.T) {
			runFile(t, f, plugin, make)
		})
	}
}

func runFile(t *testing.T, path string, plugin sdk.PluginName, make func() framework.Framework) {
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k := NewKernel(plugin, make)
	k.Start()
	var got strings.Builder
	flush := func() {
		for _, l := range k.Lines() {
			got.WriteString(l + "\n")
		}
	}
	flush()
	for n, line := range strings.Split(strings.TrimSuffix(string(ar.Comment), "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "> "):
			got.WriteString(line + "\n")
			if err := k.step(line[2:], ar.Files, &got); err != nil {
				t.Fatalf("%s:%d: %s: %v", path, n+1, line, err)
			}
			flush()
		case strings.HasPrefix(line, "#"), line == "":
			got.WriteString(line + "\n")
		}
	}
	if *update {
		ar.Comment = []byte(got.String())
		if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	compare(t, path, string(ar.Comment), got.String())
}

// compare reports the first line that differs, with what led to it.
func compare(t *testing.T, path, want, got string) {
	t.Helper()
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		line := func(s []string) string {
			if i < len(s) {
				return s[i]
			}
			return "(end)"
		}
		if line(w) != line(g) {
			t.Fatalf("%s:%d\nwant %s\ngot  %s\nall that happened (-update writes it down):\n%s",
				path, i+1, line(w), line(g), got)
		}
	}
}

// step does one step of a script.
func (k *Kernel) step(line string, files []txtar.File, out *strings.Builder) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return fmt.Errorf("an empty step")
	}
	verb := words[0]
	var args []string
	named := map[string]string{}
	for _, w := range words[1:] {
		if key, value, ok := strings.Cut(w, "="); ok {
			named[key] = value
		} else {
			args = append(args, w)
		}
	}
	need := map[string]int{"apply": 2, "stop": 1, "resume": 1, "remove": 1, "task": 2, "lost": 1, "found": 1, "full": 1, "roomy": 1,
		"offer": 2, "rescind": 1, "advance": 1, "at": 1}[verb]
	if len(args) < need {
		return fmt.Errorf("it needs %d arguments", need)
	}
	switch verb {
	case "apply":
		for _, f := range files {
			if f.Name == args[1] {
				return k.Apply(sdk.ParseRef(args[0]), sdk.RolePath(named["role"]), f.Data)
			}
		}
		return fmt.Errorf("no file %s", args[1])
	case "stop", "resume":
		return k.SetStopped(sdk.ParseRef(args[0]), verb == "stop")
	case "remove":
		return k.Remove(sdk.ParseRef(args[0]))
	case "launch":
		return k.stepLaunch(args, named)
	case "task":
		return k.stepTask(args, named)
	case "up":
		return k.Up()
	case "lost", "found":
		return k.Update(sdk.TaskID(args[0]), func(t *sdk.Task) { t.Unreachable = verb == "lost" })
	case "full", "roomy":
		k.Fill(sdk.TaskID(args[0]), verb == "full")
	case "offer":
		return k.stepOffer(args, words[3:])
	case "rescind":
		id, err := strconv.ParseUint(args[0], 10, 64)
		if err != nil {
			return err
		}
		return k.Rescind(sdk.OfferID(id))
	case "advance":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		k.Advance(sdk.Duration(d.Milliseconds()))
	case "at":
		when, err := time.Parse(time.RFC3339, args[0])
		if err != nil {
			return err
		}
		k.Advance(sdk.Time(when.UnixMilli()).Sub(k.World.Now))
	case "hold":
		k.Hold()
	case "deliver":
		k.Deliver()
	case "crash":
		k.Start()
	case "show":
		for _, l := range k.State() {
			out.WriteString(l + "\n")
		}
	default:
		return fmt.Errorf("no such step")
	}
	return nil
}

func (k *Kernel) stepLaunch(args []string, named map[string]string) error {
	n, demand, node := int64(-1), "", sdk.NodeID("n1")
	if len(args) > 0 {
		demand = args[0]
	}
	if s, ok := named["n"]; ok {
		var err error
		if n, err = strconv.ParseInt(s, 10, 64); err != nil {
			return err
		}
	}
	if s, ok := named["node"]; ok {
		node = sdk.NodeID(s)
	}
	if k.Launch(demand, n, node) == 0 {
		return fmt.Errorf("nothing is demanded")
	}
	return nil
}

func (k *Kernel) stepTask(args []string, named map[string]string) error {
	var state sdk.TaskState
	if err := state.UnmarshalText([]byte(args[1])); err != nil {
		return err
	}
	health, reason, exit := sdk.HealthUnknown, sdk.ReasonNone, int64(0)
	var err error
	if len(args) > 2 {
		err = health.UnmarshalText([]byte(args[2]))
	}
	if s, ok := named["reason"]; ok && err == nil {
		err = reason.UnmarshalText([]byte(s))
	}
	if s, ok := named["exit"]; ok && err == nil {
		exit, err = strconv.ParseInt(s, 10, 32)
	}
	if err != nil {
		return err
	}
	return k.Update(sdk.TaskID(args[0]), func(t *sdk.Task) {
		t.Status.State, t.Status.Health, t.Status.Reason, t.Status.ExitCode = state, health, reason, int32(exit)
	})
}

// Up makes every task that is staging or starting run and be healthy, oldest
// first, one event each.
func (k *Kernel) Up() error {
	var ids []sdk.TaskID
	for _, t := range k.World.Tasks {
		if t.Status.State < sdk.Running {
			ids = append(ids, t.ID)
		}
	}
	if len(ids) == 0 {
		return fmt.Errorf("no task is on its way up")
	}
	for _, id := range ids {
		if k.Task(id) == nil {
			continue
		}
		if err := k.Update(id, func(t *sdk.Task) { t.Status.State, t.Status.Health = sdk.Running, sdk.Healthy }); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kernel) stepOffer(args, pairs []string) error {
	text := "{"
	for i, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		if i > 0 {
			text += ","
		}
		text += strconv.Quote(name) + ":" + value
	}
	var r sdk.Resources
	if err := r.UnmarshalJSON([]byte(text + "}")); err != nil {
		return err
	}
	return k.Offer(args[0], sdk.NodeID(args[1]), r)
}
