package check

import (
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// What a check means where it says nothing.
const (
	DefaultInterval = 10 * time.Second
	DefaultTimeout  = 5 * time.Second
	DefaultDelay    = 30 * time.Second
	DefaultFailures = 3
)

// firstTries is how soon a check that has not passed yet is tried again; the
// wait doubles up to the interval, so that a task counts as healthy soon after
// it is, and not one interval later.
const firstTries = 50 * time.Millisecond

// judge keeps the score of one check of one task.
type judge struct {
	interval, timeout time.Duration
	limit             int32
	until             time.Time // failures count from here on, unless passed
	wait              time.Duration
	failed            int32 // in a row
	health            sdk.Health
	why               string // the last failure
}

func newJudge(c *sdk.Check, started time.Time, health sdk.Health) judge {
	or := func(d sdk.Duration, def time.Duration) time.Duration {
		if d <= 0 {
			return def
		}
		return d.Std()
	}
	j := judge{interval: or(c.Interval, DefaultInterval), timeout: or(c.Timeout, DefaultTimeout), limit: c.Failures,
		until: started.Add(or(c.Delay, DefaultDelay)), health: health}
	if j.limit <= 0 {
		j.limit = DefaultFailures
	}
	j.wait = min(firstTries, j.interval)
	return j
}

// tried scores one try that ended now and returns when the next is due.
func (j *judge) tried(now time.Time, err error) (next time.Time) {
	if err == nil {
		j.failed, j.health, j.why = 0, sdk.Healthy, ""
		return now.Add(j.interval)
	}
	j.why = err.Error()
	if j.health == sdk.HealthUnknown && now.Before(j.until) {
		next = now.Add(j.wait)
		j.wait = min(2*j.wait, j.interval)
		return next
	}
	if j.failed++; j.failed >= j.limit {
		j.health = sdk.Unhealthy
	}
	return now.Add(j.interval)
}
