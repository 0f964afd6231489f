package sdk

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Time is a moment in milliseconds since the Unix epoch. Nouns carry whole
// milliseconds, so state never depends on how a clock is represented.
type Time int64

// Duration is a span in milliseconds.
type Duration int64

// Spans, in the unit of Duration.
const (
	Millisecond Duration = 1
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
	Hour                 = 60 * Minute
)

// Add returns t moved by d.
func (t Time) Add(d Duration) Time { return t + Time(d) }

// Sub returns the span from u to t.
func (t Time) Sub(u Time) Duration { return Duration(t - u) }

// String returns t in RFC 3339 with milliseconds, in UTC.
func (t Time) String() string {
	return time.UnixMilli(int64(t)).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

// Std returns d as the standard library's duration.
func (d Duration) Std() time.Duration { return time.Duration(d) * time.Millisecond }

// String returns d as the standard library writes it: "1m30s".
func (d Duration) String() string { return d.Std().String() }

// MarshalJSON writes d as text, "1m30s": the form people declare it in.
func (d Duration) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, d.String()), nil }

// UnmarshalJSON reads "1m30s". Errors: text that is not a duration.
func (d *Duration) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf("duration %s: write it as in \"1m30s\"", b)
	}
	*d = Duration(v / time.Millisecond)
	return nil
}
