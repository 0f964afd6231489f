package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/drupe-os/drupe/sdk"
)

func TestCronSlots(t *testing.T) {
	for _, c := range []struct{ line, zone, after, want string }{
		{"* * * * *", "", "2026-11-23T10:00:00Z", "2026-11-23T10:01:00Z 2026-11-23T10:02:00Z"},
		{"*/20 3 * * *", "", "2026-11-23T10:00:59.999Z", "2026-11-24T03:00:00Z 2026-11-24T03:20:00Z 2026-11-24T03:40:00Z 2026-11-25T03:00:00Z"},
		{"30 4 * * mon-fri", "", "2026-11-20T05:00:00Z", "2026-11-23T04:30:00Z"},
		{"0 0 13 * fri", "", "2026-11-01T00:00:00Z", "2026-11-06T00:00:00Z 2026-11-13T00:00:00Z 2026-11-20T00:00:00Z"},
		{"0 0 29 2 *", "", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"5/25 0 1 jan 7,0", "", "2026-11-23T00:00:00Z", "2027-01-01T00:05:00Z 2027-01-01T00:30:00Z 2027-01-01T00:55:00Z 2027-01-03T00:05:00Z"},
		{"0 12 * * *", "Asia/Kolkata", "2026-11-23T00:00:00Z", "2026-11-23T06:30:00Z"},

		// The clock goes from 2:00 to 3:00: what is skipped runs once, at 3:00.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:30:00Z"},
		{"*/15 * * * *", "Europe/Berlin", "2026-03-29T00:44:00Z", "2026-03-29T00:45:00Z 2026-03-29T01:00:00Z 2026-03-29T01:15:00Z"},
		{"*/15 2 * * *", "Europe/Berlin", "2026-03-29T00:44:00Z", "2026-03-29T01:00:00Z 2026-03-30T00:00:00Z"},
		// It goes from 3:00 back to 2:00: the first time only.
		{"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z 2026-10-26T01:30:00Z"},
		{"*/30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z 2026-10-25T02:00:00Z 2026-10-25T02:30:00Z"},
		{"*/30 * * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", "2026-10-25T02:00:00Z"},
		{"0 3 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", "2026-10-25T02:00:00Z"},
		// Half an hour, and a whole day that never was.
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-03T15:30:00Z"},
		{"0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2011-12-30T10:00:00Z 2012-12-29T22:00:00Z"},
	} {
		s, err := parseCron(c.line, c.zone)
		if err != nil {
			t.Fatal(err)
		}
		after, _ := time.Parse(time.RFC3339Nano, c.after)
		at := sdk.Time(after.UnixMilli())
		for want := range strings.FieldsSeq(c.want) {
			at = s.next(at)
			if got := time.UnixMilli(int64(at)).UTC().Format(time.RFC3339); got != want {
				t.Errorf("%q in %s: %s, want %s", c.line, c.zone, got, want)
				break
			}
		}
	}
}

func TestBadCron(t *testing.T) {
	for _, c := range [][2]string{{"0 0 30 2 *", ""}, {"0 0 31 4,6 *", ""}, {"* * * *", ""}, {"60 * * * *", ""},
		{"0 0 * * *", "Mars/Olympus"}, {"0 0 * * *", "Local"}, {"0 0 * * *", "../etc/passwd"}} {
		if _, err := parseCron(c[0], c[1]); err == nil {
			t.Errorf("%q in %q was taken", c[0], c[1])
		}
	}
}

// slots is the rule by walking: minute after minute, every minute that the wall
// clock reaches for the first time is looked at. It goes by text, not by bits.
func slots(c *cron, from, to int64) (out []sdk.Time) {
	wall := func(t int64) int64 {
		_, off := time.Unix(t, 0).In(c.zone).Zone()
		return (t + int64(off)) / 60
	}
	top := int64(0)
	for t := from - 3*86400; t <= to; t += 60 {
		now := wall(t)
		found := false
		for m := max(top, now-1500) + 1; m <= now; m++ {
			d := time.Unix(m*60, 0).UTC()
			day, week := c.day>>d.Day()&1 == 1, c.weekday>>d.Weekday()&1 == 1
			ok := day && week
			if !c.anyDay && !c.anyWeekday {
				ok = day || week
			}
			found = found || ok && c.month>>d.Month()&1 == 1 && c.hour>>d.Hour()&1 == 1 && c.minute>>d.Minute()&1 == 1
		}
		top = max(top, now)
		if found && t > from {
			out = append(out, sdk.Time(t*1000))
		}
	}
	return out
}

func TestCronAgainstWalking(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
		"America/Sao_Paulo", "Africa/Casablanca", "Pacific/Apia", "Europe/Dublin", "Antarctica/Troll"}
	// Around changes of the clock, where all the trouble is.
	turns := []string{"2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z", "2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z",
		"2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z", "2011-12-30T10:00:00Z", "2026-02-15T02:00:00Z", "2018-11-04T03:00:00Z"}
	field := func(t *rapid.T, label string, low, high int) string {
		switch rapid.IntRange(0, 3).Draw(t, label) {
		case 0:
			return "*"
		case 1:
			return fmt.Sprintf("*/%d", rapid.IntRange(1, high).Draw(t, label))
		case 2:
			a := rapid.IntRange(low, high).Draw(t, label)
			return fmt.Sprintf("%d-%d", a, rapid.IntRange(a, high).Draw(t, label))
		}
		return fmt.Sprint(rapid.IntRange(low, high).Draw(t, label))
	}
	rapid.Check(t, func(t *rapid.T) {
		line := field(t, "minute", 0, 59) + " " + field(t, "hour", 0, 4) + " " + field(t, "day", 1, 31) + " * " + field(t, "weekday", 0, 7)
		c, err := parseCron(line, rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		turn, _ := time.Parse(time.RFC3339, rapid.SampledFrom(turns).Draw(t, "turn"))
		from := turn.Unix() + int64(rapid.IntRange(-1440, 180).Draw(t, "from"))*60
		want := slots(c, from, from+4*86400)
		at := sdk.Time(from * 1000)
		for _, w := range want {
			if at = c.next(at); at != w {
				t.Fatalf("%q in %s: %s, walking says %s", line, c.zone, at, w)
			}
		}
	})
}
