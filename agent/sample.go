package agent

import (
	"context"

	"github.com/drupe-os/drupe/agent/plan"
	"github.com/drupe-os/drupe/sdk"
)

// sample measures what the running tasks use and tells the servers. Samples
// are worth little: where one cannot be had or sent in time, it is left out.
func (a *Agent) sample() {
	if a.sampling || !a.up.Connected() || !a.anyRunning() {
		return
	}
	a.sampling = true
	a.ops.wg.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, quickCall)
		list, err := a.cfg.Runtime.Usage(ctx)
		cancel()
		a.post(func() {
			a.sampling = false
			switch {
			case err != nil && a.ctx.Err() == nil:
				a.log.Warn("usage", "error", err)
			case len(list) > 0:
				a.up.Usage(&sdk.UsageReport{Usages: list})
			}
		})
	})
}

// anyRunning reports whether a task runs here.
func (a *Agent) anyRunning() bool {
	for _, t := range a.tasks {
		if t.plan.Seen == plan.Running {
			return true
		}
	}
	return false
}
