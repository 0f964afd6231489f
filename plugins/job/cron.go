package main

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on the machine

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
)

// cron is when a job runs, by the clock on the wall of one time zone.
//
// Each minute the clock shows belongs to one moment: the first at which the
// clock shows it or a later one. So what falls into the hour that is skipped in
// spring runs at the end of the gap, all of it as one slot; and what falls into
// the hour that comes twice in autumn runs the first time only.
type cron struct {
	minute, hour, day, month, weekday uint64 // a bit for each value that matches
	// With both days restricted a date matches by either, as cron always had it.
	anyDay, anyWeekday bool
	zone               *time.Location
}

// parseCron reads five fields and the name of a time zone. Errors name what is
// wrong.
func parseCron(line, zone string) (*cron, error) {
	if err := doc.CheckCron(line); err != nil {
		return nil, err
	}
	if zone == "" {
		zone = "UTC"
	}
	loc, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" {
		return nil, fmt.Errorf("there is no time zone %q; write an IANA name such as Europe/Berlin", zone)
	}
	f := strings.Fields(line)
	c := &cron{
		minute: setOf(f[0], 0, 59, nil), hour: setOf(f[1], 0, 23, nil), day: setOf(f[2], 1, 31, nil),
		month: setOf(f[3], 1, 12, months), weekday: setOf(f[4], 0, 7, weekdays),
		anyDay: strings.HasPrefix(f[2], "*"), anyWeekday: strings.HasPrefix(f[4], "*"), zone: loc,
	}
	c.weekday |= c.weekday >> 7 & 1 // Sunday is 0 and 7
	if _, ok := c.nextWall(0); !ok {
		return nil, fmt.Errorf("%q never comes: there is no such date", line)
	}
	return c, nil
}

var (
	months   = []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

// setOf reads one field that CheckCron has found good.
func setOf(field string, low, high int, names []string) (set uint64) {
	value := func(s string) int {
		for i, n := range names {
			if strings.EqualFold(s, n) {
				return low + i
			}
		}
		n, _ := strconv.Atoi(s)
		return n
	}
	for item := range strings.SplitSeq(field, ",") {
		span, every, stepped := strings.Cut(item, "/")
		first, last := low, high
		if a, b, ranged := strings.Cut(span, "-"); ranged {
			first, last = value(a), value(b)
		} else if span != "*" {
			first = value(span)
			if !stepped {
				last = first
			}
		}
		step := 1
		if stepped {
			step = value(every)
		}
		for v := first; v <= last; v += max(step, 1) {
			set |= 1 << v
		}
	}
	return set
}

// next returns the first slot after t.
func (c *cron) next(t sdk.Time) sdk.Time {
	now := floor(int64(t), 1000)
	wall, _ := c.nextWall(floor(c.reached(now), 60) + 1)
	return sdk.Time(c.moment(wall*60, now) * 1000)
}

// maxDays is how far a date may be away: from one 29 February to the next it can
// be eight years.
const maxDays = 9 * 366

// nextWall returns the first matching minute of the wall clock from m on, both
// in minutes since 1970. It reports false when there is none.
func (c *cron) nextWall(m int64) (int64, bool) {
	day, from := floor(m, 1440), m-floor(m, 1440)*1440
	for range maxDays {
		if c.matches(day) {
			for h := from / 60; h < 24; h++ {
				if c.hour>>h&1 == 0 {
					from = 0
					continue
				}
				if rest := c.minute >> (from % 60) << (from % 60); rest != 0 {
					return day*1440 + h*60 + int64(bits.TrailingZeros64(rest)), true
				}
				from = 0
			}
		}
		day, from = day+1, 0
	}
	return 0, false
}

// matches reports whether the slot may be on a day, counted since 1970.
func (c *cron) matches(day int64) bool {
	d := time.Unix(day*86400, 0).UTC()
	if c.month>>d.Month()&1 == 0 {
		return false
	}
	byDay, byWeekday := c.day>>d.Day()&1 == 1, c.weekday>>d.Weekday()&1 == 1
	if c.anyDay || c.anyWeekday {
		return byDay && byWeekday
	}
	return byDay || byWeekday
}

// reached returns the latest that the wall clock has shown up to t, in seconds.
// It is later than what it shows at t if it was put back a short while ago.
func (c *cron) reached(t int64) int64 {
	z := time.Unix(t, 0).In(c.zone)
	_, offset := z.Zone()
	most := t + int64(offset)
	// No clock was ever put back by more than a day.
	for start, _ := z.ZoneBounds(); !start.IsZero() && start.Unix() > t-2*86400; start, _ = z.ZoneBounds() {
		z = time.Unix(start.Unix()-1, 0).In(c.zone)
		_, offset = z.Zone()
		most = max(most, z.Unix()+int64(offset))
	}
	return most
}

// moment returns the first second from t on at which the wall clock shows wall
// or later, given that it has not up to t.
func (c *cron) moment(wall, t int64) int64 {
	for {
		z := time.Unix(t, 0).In(c.zone)
		_, offset := z.Zone()
		at := max(t, wall-int64(offset))
		_, end := z.ZoneBounds()
		if end.IsZero() || at < end.Unix() {
			return at
		}
		t = end.Unix()
	}
}

// floor divides, rounding down.
func floor(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
