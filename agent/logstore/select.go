package logstore

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

// maxPieces bounds how much of a line is looked at for a match: a mebibyte.
// What a longer line is taken for is decided by its beginning.
const maxPieces = (1 << 20) / logfile.MaxText

// folder returns where the program's output lies in the task's folder dir.
// Errors: NotFound, naming the sidecars there are.
func folder(dir, sidecar string) (string, error) {
	task := "task " + filepath.Base(filepath.Dir(dir))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", sdk.Errorf(sdk.NotFound, "logs", "there are none of %s on this node", task).
			Because("it never started here, or its logs were cleared away after it ended")
	}
	if sidecar == "" {
		return dir, nil
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if e.Name() == sidecar {
			return filepath.Join(dir, sidecar), nil
		}
		names = append(names, e.Name())
	}
	f := sdk.Errorf(sdk.NotFound, "logs", "%s has no output of a sidecar %q", task, sidecar)
	if len(names) == 0 {
		return "", f.Because("it has no sidecars that have started")
	}
	sort.Strings(names)
	return "", f.ToFix("those there are: %s", strings.Join(names, ", "))
}

// input is one stream: the lines of it that are wanted, oldest first.
type input struct {
	stream       string
	r            *logfile.Reader
	since, until sdk.Time
	match        *regexp.Regexp

	ready []sdk.LogLine // pieces of one line, decided on
	held  []sdk.LogLine // pieces of one line whose end is not there yet
	// going: the line's rest is passed over (-1) or handed out (+1).
	going int
}

// fill makes ready hold the next line, or what there is of it. Errors: io.EOF
// when there is nothing more now; else those of the disk.
func (in *input) fill(last bool) error {
	for len(in.ready) == 0 {
		rec, err := in.r.Next()
		if errors.Is(err, io.EOF) && last && len(in.held) > 0 {
			in.decide(false)
			continue
		}
		if err != nil {
			return err
		}
		if rec.Time < in.since || in.until > 0 && rec.Time >= in.until {
			continue
		}
		line := rec.Line(in.stream)
		if in.match == nil || line.Dropped > 0 {
			in.ready = append(in.ready, line)
			continue
		}
		if in.going == 0 {
			if in.held = append(in.held, line); line.Partial && len(in.held) < maxPieces {
				continue
			}
			in.decide(line.Partial)
			continue
		}
		if in.going > 0 {
			in.ready = append(in.ready, line)
		}
		if !line.Partial {
			in.going = 0
		}
	}
	return nil
}

// decide hands the held line out if it matches. more: it goes on.
func (in *input) decide(more bool) {
	text := in.held[0].Text
	if len(in.held) > 1 {
		text = nil
		for _, l := range in.held {
			text = append(text, l.Text...)
		}
	}
	hit := in.match.Match(text)
	if hit {
		in.ready = append(in.ready, in.held...)
	}
	in.held = nil
	switch in.going = 0; {
	case more && hit:
		in.going = 1
	case more:
		in.going = -1
	}
}

// place is where in the order of time handing out begins: with the line that
// has count others of the same time before it. Being a time, it stays right
// when old files go meanwhile.
type place struct {
	time  sdk.Time
	count int64
}

// skip reports whether the line that begins at t comes before p. It is asked
// for each line in turn.
func (p *place) skip(t sdk.Time) bool {
	if t > p.time || t == p.time && p.count <= 0 {
		*p = place{} // from here on all, also when the clock is set back
		return false
	}
	if t == p.time {
		p.count--
	}
	return *p != place{}
}

// lastOf returns the place of the last n lines that m hands out.
func (m *merge) lastOf(n int64) (place, error) {
	var ring []place // of the last n lines; none of them is held in memory itself
	var last place
	at, inside := 0, false
	for {
		line, err := m.next(true)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return place{}, err
		}
		begins := !inside
		if inside = line.Partial; !begins {
			continue
		}
		mine := place{time: line.Time}
		if last.time == line.Time {
			mine.count = last.count
		}
		last = place{time: line.Time, count: mine.count + 1}
		switch {
		case int64(len(ring)) < n:
			ring = append(ring, mine)
		case n > 0:
			ring[at] = mine
			at = (at + 1) % len(ring)
		}
	}
	if len(ring) == 0 {
		return last, nil
	}
	return ring[at], nil
}
