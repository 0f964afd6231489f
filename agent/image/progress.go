package image

import (
	"context"

	"github.com/drupe-os/drupe/sdk"
)

// Progress is how far the fetching of an image is, in bytes as they are sent.
type Progress struct{ Done, Total int64 }

// String writes it for people: "fetching 12Mi of 80Mi".
func (p Progress) String() string {
	return "fetching " + sdk.FormatBytes(p.Done) + " of " + sdk.FormatBytes(p.Total)
}

type progressKey struct{}

// WithProgress returns a context for Resolve and ResolveModule that has report
// called every two seconds while bytes are being fetched, in a goroutine of
// their own, never after they returned.
func WithProgress(ctx context.Context, report func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}
