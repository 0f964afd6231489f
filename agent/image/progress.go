package image

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// Progress is how far the fetching of an image is, in bytes as they are sent.
type Progress struct{ Done, Total int64 }

// String writes it for people: "fetching 12Mi of 80Mi".
func (p Progress) String() string {
	return "fetching " + sdk.FormatBytes(round(p.Done)) + " of " + sdk.FormatBytes(round(p.Total))
}

// round drops what people do not want to read.
func round(n int64) int64 {
	for unit := int64(1 << 30); unit > 1; unit >>= 10 {
		if n >= 10*unit || unit == 1<<10 && n >= unit {
			return n / unit * unit
		}
	}
	return n
}

type progressKey struct{}

// WithProgress returns a context for Resolve and ResolveModule that has report
// called every two seconds while bytes are being fetched, in a goroutine of its
// own, never after they returned.
func WithProgress(ctx context.Context, report func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// reportEvery is the least time between two reports.
var reportEvery = 2 * time.Second

// tally counts the bytes of one blob as they come; callers that share the work
// share it.
type tally struct {
	size int64
	n    atomic.Int64
}

// tally returns the count of a blob that is, or will be, on its way.
func (s *Store) tally(d oci.Descriptor) *tally {
	t, _ := s.tallies.LoadOrStore(d.Digest, &tally{size: d.Size})
	return t.(*tally)
}

// through counts what is read.
func (t *tally) through(r io.Reader) io.Reader {
	t.n.Store(0)
	return tallied{r, t}
}

type tallied struct {
	io.Reader
	t *tally
}

// Read implements io.Reader.
func (r tallied) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.t.n.Add(int64(n))
	return n, err
}

// report tells who asked how far the blobs are, until it is stopped.
func report(ctx context.Context, blobs []*tally) (stop func()) {
	tell, ok := ctx.Value(progressKey{}).(func(Progress))
	if !ok || len(blobs) == 0 {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(reportEvery)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				var p Progress
				for _, t := range blobs {
					p.Done += min(t.n.Load(), t.size)
					p.Total += t.size
				}
				tell(p)
			}
		}
	}()
	return func() { close(end); <-ended }
}
