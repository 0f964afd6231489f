package policy

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/plugins/drf/fair"
)

var update = flag.Bool("update", false, "write what the native drf policy does into the case files")

// TestNative plays every case on the policy's native code.
func TestNative(t *testing.T) {
	playAll(t, func() Allocator { return Native(fair.New()) })
}

// playAll plays the cases of testdata, and of the folder CASES if it is set.
func playAll(t *testing.T, policy func() Allocator) {
	folders := []string{"testdata"}
	if more := os.Getenv("CASES"); more != "" {
		folders = append(folders, more)
	}
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no cases in %s (%v)", folder, err)
		}
		for _, f := range files {
			t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { playOne(t, f, policy()) })
		}
	}
}

func playOne(t *testing.T, file string, policy Allocator) {
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Play(string(want), NewReference(), policy)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	w, g := strings.Split(string(want), "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			t.Fatalf("%s:%d differs; what happened:\n%s", file, i+1, got)
		}
	}
}
