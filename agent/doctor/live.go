package doctor

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drupe-os/drupe/agent/identity"
	"github.com/drupe-os/drupe/sdk"
)

// Live adds to facts of this machine what only asking tells: the clock, room on
// disk, the node's certificate, names and servers. It takes as long as ctx lets
// it, at most some seconds.
func (f *Facts) Live(ctx context.Context, servers []string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	f.Now = time.Now()
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	f.Synced = err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
	f.space()
	switch id, err := identity.Load(f.Data); {
	case err == nil:
		f.Certificate = id.Expires
	case sdk.KindOf(err) != sdk.NotFound:
		f.Identity = err.Error()
	}
	if !f.Resolved {
		found, err := net.DefaultResolver.LookupHost(ctx, f.Hostname)
		f.Resolved = err == nil && len(found) > 0
	}
	f.Servers = make([]Server, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() {
			f.Servers[i].Address = s
			address := strings.TrimPrefix(s, "https://")
			if _, _, err := net.SplitHostPort(address); err != nil {
				address = net.JoinHostPort(address, "4600")
			}
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
			if err != nil {
				f.Servers[i].Fault = err.Error()
				return
			}
			c.Close()
		})
	}
	wg.Wait()
}
