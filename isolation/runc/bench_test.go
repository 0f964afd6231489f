package runc_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkStart measures a container's whole life — create, start, exit known
// here, remove — against fork, exec and wait of the same program, alternately,
// so that whatever else the machine does falls on both. The ratio is what
// counts; "start-ms" is the part from start to exit, which is all that a
// container created ahead of time still costs.
func BenchmarkStart(b *testing.B) {
	n := newNode(b)
	program := filepath.Join(layer, "bin/busybox")
	var bare, whole, warm time.Duration
	for i := 0; b.Loop(); i++ {
		begun := time.Now()
		if err := exec.Command(program, "true").Run(); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(begun)

		s := n.spec(fmt.Sprint("t", i), "/bin/busybox", "true")
		begun = time.Now()
		if err := n.Create(n.ctx, s); err != nil {
			b.Fatal(err)
		}
		created := time.Now()
		if err := n.Start(n.ctx, s.ID); err != nil {
			b.Fatal(err)
		}
		<-n.exits
		warm += time.Since(created)
		if err := n.Remove(n.ctx, s.ID); err != nil {
			b.Fatal(err)
		}
		whole += time.Since(begun)
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(b.N) / 1e6 }
	b.ReportMetric(ms(bare), "fork-exec-ms")
	b.ReportMetric(ms(whole), "container-ms")
	b.ReportMetric(ms(warm), "start-ms")
	b.ReportMetric(float64(whole)/float64(bare), "ratio")
}
