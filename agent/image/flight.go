package image

import (
	"context"
	"sync"

	"github.com/drupe-os/drupe/sdk"
)

// flights lets callers that want the same thing at the same time share the
// work. The work goes on as long as one of them waits for it.
type flights struct {
	mu sync.Mutex
	m  map[sdk.Digest]*flight
}

type flight struct {
	done    chan struct{}
	err     error
	waiting int
	cancel  context.CancelFunc
}

// do runs work for key, or waits for the run that is under way.
func (fs *flights) do(ctx context.Context, key sdk.Digest, work func(context.Context) error) error {
	fs.mu.Lock()
	f := fs.m[key]
	if f == nil {
		// The work must not end because the first caller gave up.
		wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel}
		if fs.m == nil {
			fs.m = map[sdk.Digest]*flight{}
		}
		fs.m[key] = f
		go func() {
			f.err = work(wctx)
			fs.drop(key, f)
			cancel()
			close(f.done)
		}()
	}
	f.waiting++
	fs.mu.Unlock()

	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
	}
	fs.mu.Lock()
	f.waiting--
	last := f.waiting == 0
	if last && fs.m[key] == f {
		// Whoever comes now starts anew rather than joining cancelled work.
		delete(fs.m, key)
	}
	fs.mu.Unlock()
	if last {
		f.cancel()
		<-f.done
	}
	return classify(ctx.Err(), "wait for a layer")
}

func (fs *flights) drop(key sdk.Digest, f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.m[key] == f {
		delete(fs.m, key)
	}
}
