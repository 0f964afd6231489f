package replica

import (
	"context"
	"fmt"
	"testing"
)

// sink machine: the log alone is measured.
type nothing struct{ recorder }

func (*nothing) Apply(_ []uint64, data [][]byte) []any { return make([]any, len(data)) }

func BenchmarkPropose(b *testing.B) {
	for _, size := range []int{100, 32 << 10} {
		for _, inFlight := range []int{1, 64} {
			b.Run(fmt.Sprintf("bytes=%d/inflight=%d", size, inFlight), func(b *testing.B) {
				r := mustOpen(b, lone(b.TempDir()), &nothing{})
				awaitLeader(b, r)
				data := make([]byte, size)
				window := make(chan Future, inFlight-1)
				done := make(chan error, 1)
				b.SetBytes(int64(size))
				b.ResetTimer()
				go func() {
					for f := range window {
						if _, _, err := f.Wait(context.Background()); err != nil {
							done <- err
							return
						}
					}
					done <- nil
				}()
				if inFlight == 1 {
					for range b.N {
						if _, _, err := r.Propose(data).Wait(context.Background()); err != nil {
							b.Fatal(err)
						}
					}
				} else {
					for range b.N {
						window <- r.Propose(data)
					}
				}
				close(window)
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			})
		}
	}
}
