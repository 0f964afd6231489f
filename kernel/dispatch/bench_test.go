package dispatch

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// BenchmarkIdleSessions reports what one idle session costs, both ends of its
// TLS connection in this process.
func BenchmarkIdleSessions(b *testing.B) {
	s := start(b, nil)
	go func() {
		for range s.lines {
		}
	}()
	measure := func() (bytes uint64, goroutines int) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse, runtime.NumGoroutine()
	}
	m0, g0 := measure()
	agents := make([]*agent, b.N)
	for i := range b.N {
		agents[i] = s.dial(b, fmt.Sprintf("n%d", i))
		agents[i].say(wire.FrameHello, &sdk.Hello{Protocol: sdk.AgentProtocol})
		agents[i].hear(nil)
	}
	m1, g1 := measure()
	b.ReportMetric(float64(m1-m0)/float64(b.N)/1024, "KiB/session")
	b.ReportMetric(float64(g1-g0)/float64(b.N), "goroutines/session")
}
