package policy

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/plugins/drf/fair"
	"github.com/drupe-os/drupe/sdk"
	api "github.com/drupe-os/drupe/sdk/policy"
)

// BenchmarkSandbox compares drf natively and in the sandbox, on the kernel's own
// index: 10,000 tasks of 100 roles, all in one call. Native and sandboxed calls
// take turns in one process and are measured in CPU time of their thread, so
// that the ratio holds on a busy machine too.
func BenchmarkSandbox(b *testing.B) {
	m := installed(b, "")
	for _, nodes := range []int{1_000, 10_000, 50_000} {
		b.Run(fmt.Sprint(nodes), func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			book, open := crowd(b, nodes)
			p, err := m.Policy(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close(context.Background())
			native, boxed := Native(fair.New()), sandboxed{p}
			measure(b, book, open, boxed) // the first batch writes all nodes
			var plain, wasm []time.Duration
			for range max(b.N, 5) {
				plain = append(plain, measure(b, book, open, native))
				wasm = append(wasm, measure(b, book, open, boxed))
			}
			slices.Sort(plain)
			slices.Sort(wasm)
			n, w := plain[len(plain)/2], wasm[len(wasm)/2]
			b.ReportMetric(float64(n)/1e6, "native-ms")
			b.ReportMetric(float64(w)/1e6, "wasm-ms")
			b.ReportMetric(float64(w)/float64(n), "ratio")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// crowd is a cluster of nodes, and 100 roles that want 100 tasks each.
func crowd(b *testing.B, nodes int) (*offer.Book, []offer.Open) {
	book := offer.New(account.New())
	for i := range nodes {
		machine := sdk.Machine{Capacity: sdk.R(int64(8000+i%3*8000), int64(32+i%5*16)<<30)}
		row := book.AddNode(&sdk.Node{ID: sdk.NodeID(fmt.Sprint(i)), Name: fmt.Sprint(i), Machine: machine})
		book.Ledger().SetCapacity(row, book.Ledger().Vector(machine.Capacity, 0))
		book.NodeChanged(row)
	}
	var open []offer.Open
	for r := range 100 {
		name := fmt.Sprintf("r%d", r)
		d := &sdk.Demand{Name: name, Ref: sdk.Ref{Kind: "k", Name: name}, Role: sdk.RolePath(name), Count: 100,
			Resources: sdk.R(int64(100+r%7*50), int64(64+r%11*64)<<20), Template: &sdk.Template{}}
		s, err := book.NewShape("bench", d)
		if err != nil {
			b.Fatal(err)
		}
		open = append(open, offer.Open{Shape: s, Count: 100})
	}
	return book, open
}

// measure makes one call and returns the CPU time it took.
func measure(b *testing.B, book *offer.Book, open []offer.Open, a Allocator) time.Duration {
	r := book.NewRound(open, 1, 1<<31)
	defer r.Close()
	begun := threadTime(b)
	err := a.Allocate(&r.Batch, api.Index(r))
	took := threadTime(b) - begun
	if err != nil {
		b.Fatal(err)
	}
	placed := 0
	for _, d := range r.Decisions {
		placed += int(d.Count)
	}
	if placed != 10_000 {
		b.Fatalf("placed %d of 10000 tasks", placed)
	}
	return took
}

// threadTime is the CPU time of this thread so far.
func threadTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
