package cli

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// meter counts bytes that are written to it, and shows people how many as soon
// as that takes long.
type meter struct {
	*app
	n     atomic.Int64
	ended chan struct{}
	gone  chan struct{} // the last is shown
}

// Until dull has passed nothing is shown, and then anew each refresh.
const (
	dull    = time.Second
	refresh = 200 * time.Millisecond
)

func (a *app) meter() *meter {
	m := &meter{app: a, ended: make(chan struct{}), gone: make(chan struct{})}
	if a.quiet || !isTerminal(a.err) {
		close(m.gone)
		return m
	}
	go m.show()
	return m
}

// Write counts.
func (m *meter) Write(b []byte) (int, error) {
	m.n.Add(int64(len(b)))
	return len(b), nil
}

func (m *meter) show() {
	defer close(m.gone)
	begin := time.Now()
	tick := time.NewTimer(dull)
	defer tick.Stop()
	for shown := false; ; shown = true {
		select {
		case <-tick.C:
		case <-m.ended:
			if shown {
				fmt.Fprint(m.err, "\r\x1b[K")
			}
			return
		}
		fmt.Fprintf(m.err, "\r\x1b[K%s", rate(m.n.Load(), time.Since(begin)))
		tick.Reset(refresh)
	}
}

// rate says how much was copied, and how fast.
func rate(n int64, in time.Duration) string {
	return fmt.Sprintf("%s copied, %s/s", sdk.FormatBytes(n), sdk.FormatBytes(int64(float64(n)/in.Seconds())))
}

// stop removes what is shown.
func (m *meter) stop() {
	close(m.ended)
	<-m.gone
}
