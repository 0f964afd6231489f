package mutants

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/conformance/guests"
)

var only = flag.String("mutant", "", "regular expression of the mutants to plant")

// TestEveryPlantedBugIsNoticed builds the simulator's test once for each mutant
// and lets it run until it fails.
func TestEveryPlantedBugIsNoticed(t *testing.T) {
	pattern := regexp.MustCompile(*only)
	if _, err := guests.Build(); err != nil {
		t.Fatal(err)
	}
	for _, m := range All {
		if !pattern.MatchString(m.Name) {
			continue
		}
		t.Run(strings.ReplaceAll(m.Name, " ", "-"), func(t *testing.T) { plant(t, m) })
	}
}

func plant(t *testing.T, m Mutant) {
	root := guests.Root()
	path := filepath.Join(root, m.File)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.Old); n != 1 {
		t.Fatalf("%s has the text to replace %d times: bring the list up to date", m.File, n)
	}
	dir := t.TempDir()
	mutated := filepath.Join(dir, "mutated.go")
	if err := os.WriteFile(mutated, []byte(strings.Replace(string(source), m.Old, m.New, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "sim.test")
	build := exec.Command("go", "test", "-c", "-overlay", file, "-o", binary, "./conformance/sim")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not build: %v\n%s", err, out)
	}
	run := exec.Command(binary, "-test.run", "TestSmall", "-sim.seeds", "6", "-test.timeout", "3m")
	run.Dir = filepath.Join(root, "conformance", "sim")
	out, err := run.CombinedOutput()
	if err == nil {
		t.Fatalf("nothing noticed it in 60 histories")
	}
	t.Log(reason(string(out)))
}

// reason is the line in which the simulator says what broke.
func reason(out string) string {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "after the start") || strings.HasPrefix(line, "panic:") {
			return strings.TrimSpace(line)
		}
	}
	return out[max(0, len(out)-500):]
}
