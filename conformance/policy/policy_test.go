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
	playAll(t, reference, func() Allocator { return Native(fair.New()) })
}

// TestCasesOnTheKernel plays every case on the kernel's own books: what holds by
// definition must hold there.
func TestCasesOnTheKernel(t *testing.T) {
	playAll(t, kernel, func() Allocator { return Native(fair.New()) })
}

// A ground is what a case is played on; err tells afterwards whether it held.
type ground func() (c Cluster, err func() error)

func reference() (Cluster, func() error) { return NewReference(), func() error { return nil } }

func kernel() (Cluster, func() error) {
	k := NewKernel()
	return k, k.Err
}

// playAll plays the cases of testdata, and of the folder CASES if it is set.
func playAll(t *testing.T, on ground, policy func() Allocator) {
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
			t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) { playOne(t, f, on, policy()) })
		}
	}
}

func playOne(t *testing.T, file string, on ground, policy Allocator) {
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cluster, held := on()
	got, err := Play(string(want), cluster, policy)
	if err == nil {
		err = held()
	}
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
