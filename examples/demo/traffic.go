package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// traffic sends requests to addresses in turn, one after another, and counts
// those that are not answered.
type traffic struct {
	client   http.Client
	targets  atomic.Pointer[[]string]
	stop     context.CancelFunc
	wg       sync.WaitGroup
	sent     int
	failed   int
	lastFail error
}

// pause lies between two requests, so that the sender leaves the machine room to
// do something else.
const pause = 2 * time.Millisecond

func startTraffic(ctx context.Context, targets []string) *traffic {
	t := &traffic{client: http.Client{Timeout: 5 * time.Second}}
	t.targets.Store(&targets)
	ctx, t.stop = context.WithCancel(ctx)
	t.wg.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			to := *t.targets.Load()
			if _, err := get(&t.client, to[n%len(to)]); err != nil {
				t.failed, t.lastFail = t.failed+1, err
			}
			t.sent++
		}
	})
	return t
}

// end stops sending and returns what became of it.
func (t *traffic) end() (sent, failed int, last error) {
	t.stop()
	t.wg.Wait()
	t.client.CloseIdleConnections()
	return t.sent, t.failed, t.lastFail
}

// get asks for a page and returns its text.
func get(c *http.Client, url string) (string, error) {
	r, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, r.Status)
	}
	return strings.TrimSpace(string(b)), err
}
