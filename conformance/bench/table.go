package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// table gathers figures and what they were measured on.
type table struct {
	quick   bool
	begun   time.Time
	before  string // load averages
	after   string
	machine string
	commit  string
	groups  []group
}

type group struct {
	name    string
	figures []figure
	took    time.Duration
}

func newTable(quick bool) *table {
	return &table{quick: quick, begun: time.Now(), before: load(), machine: machine(), commit: commit()}
}

func (t *table) add(name string, figures []figure, took time.Duration) {
	t.groups = append(t.groups, group{name, figures, took})
}

func (t *table) end() { t.after = load() }

// markdown writes the table.
func (t *table) markdown() string {
	var b strings.Builder
	form := "full run"
	if t.quick {
		form = "`-quick` run"
	}
	fmt.Fprintf(&b, "Measured %s, commit %s, %s, %s.\n", t.begun.UTC().Format("2006-01-02 15:04 UTC"), t.commit, form, t.machine)
	fmt.Fprintf(&b, "Load average before %s, after %s.\n", t.before, t.after)
	for _, g := range t.groups {
		fmt.Fprintf(&b, "\n**%s** (%s)\n\n| figure | aim | measured | ratio | method |\n|---|---|---|---|---|\n", g.name, g.took.Round(100*time.Millisecond))
		for _, f := range g.figures {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(f.Name), cell(f.Aim), cell(f.Measured), cell(f.Ratio), cell(f.Method))
		}
	}
	return b.String()
}

func cell(s string) string {
	if s == "" {
		return "–"
	}
	return strings.NewReplacer("|", "/", "\n", " ").Replace(s)
}

const (
	beginMark = "<!-- figures begin: written by go run ./conformance/bench -write -->"
	endMark   = "<!-- figures end -->"
)

// write replaces what stands between the marks of a file.
func (t *table) write(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(b, []byte(beginMark))
	_, tail, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks to write between", path)
	}
	out := append(append(bytes.Clone(head), beginMark+"\n"+t.markdown()+endMark...), tail...)
	return os.WriteFile(path, out, 0o644)
}

// load is the machine's load averages.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}

// machine names what is measured on.
func machine() string {
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d × %s, Linux %s, %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
