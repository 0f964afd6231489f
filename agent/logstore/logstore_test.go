package logstore

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/logfile"
)

func writers(t *testing.T, dir string, now *sdk.Time) (out, errs *logfile.Writer) {
	t.Helper()
	clock := func() sdk.Time { return *now }
	return logfile.NewWriter(dir, logfile.Stdout, sdk.LogLimits{}, clock), logfile.NewWriter(dir, logfile.Stderr, sdk.LogLimits{}, clock)
}

func texts(t *testing.T, dir string, q Query) (got []string) {
	t.Helper()
	err := Read(t.Context(), dir, q, func(l []sdk.LogLine) error {
		for _, x := range l {
			got = append(got, x.Stream[3:]+" "+string(x.Text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestMerge(t *testing.T) {
	dir := t.TempDir()
	var now sdk.Time
	out, errs := writers(t, dir, &now)
	for i := range 6 {
		now = sdk.Time(1000 + i)
		w := out
		if i%3 == 1 {
			w = errs
		}
		fmt.Fprintf(w, "%d\n", i)
	}
	out.Close()
	errs.Close()
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{Tail: -1}, "out 0,err 1,out 2,out 3,err 4,out 5"},
		{Query{Tail: 3}, "out 3,err 4,out 5"},
		{Query{Tail: 0}, ""},
		{Query{Tail: 100}, "out 0,err 1,out 2,out 3,err 4,out 5"},
		{Query{Tail: 1, Stream: "stderr"}, "err 4"},
		{Query{Tail: -1, Stream: "stdout"}, "out 0,out 2,out 3,out 5"},
	} {
		if got := strings.Join(texts(t, dir, tt.q), ","); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.q, got, tt.want)
		}
	}
}

func TestFollowToTheEnd(t *testing.T) {
	dir := t.TempDir()
	var now sdk.Time
	out, errs := writers(t, dir, &now)
	defer errs.Close()
	fmt.Fprintln(out, "before")
	var ended atomic.Bool
	var got []string
	err := Read(t.Context(), dir, Query{Tail: -1, Follow: true, Ended: ended.Load}, func(l []sdk.LogLine) error {
		for _, x := range l {
			got = append(got, string(x.Text))
			// Each line that arrives makes the next one be written.
			switch string(x.Text) {
			case "before":
				fmt.Fprintln(out, "during")
			case "during":
				fmt.Fprintln(out, "last")
				ended.Store(true)
			}
		}
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"before", "during", "last"}) {
		t.Fatalf("%v, %v", got, err)
	}
}

func TestErrors(t *testing.T) {
	none := func([]sdk.LogLine) error { return nil }
	if err := Read(t.Context(), t.TempDir(), Query{Stream: "stdin"}, none); sdk.KindOf(err) != sdk.Invalid {
		t.Error(err)
	}
	if err := Read(t.Context(), filepath.Join(t.TempDir(), "x"), Query{}, none); sdk.KindOf(err) != sdk.NotFound {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Read(ctx, t.TempDir(), Query{Follow: true, Ended: func() bool { return false }}, none); err != context.Canceled {
		t.Error(err)
	}
}

func TestSelect(t *testing.T) {
	dir := t.TempDir()
	var now sdk.Time
	out, errs := writers(t, dir, &now)
	for i := range 10 {
		now = sdk.Time(1000 + i/2)
		w := out
		if i%3 == 1 {
			w = errs
		}
		fmt.Fprintf(w, "%d%s\n", i, []string{"", " odd"}[i%2])
	}
	out.Close()
	errs.Close()
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{Tail: -1, Since: 1003}, "out 6,err 7 odd,out 8,out 9 odd"},
		{Query{Tail: -1, Until: 1001}, "out 0,err 1 odd"},
		{Query{Tail: -1, Since: 1001, Until: 1002}, "out 2,out 3 odd"},
		{Query{Tail: -1, Match: "odd$"}, "err 1 odd,out 3 odd,out 5 odd,err 7 odd,out 9 odd"},
		{Query{Tail: 2, Match: "odd"}, "err 7 odd,out 9 odd"},
		{Query{Tail: 3, Until: 1004}, "err 4,out 6,err 7 odd"},
		{Query{Tail: 3, Since: 1004}, "out 8,out 9 odd"},
		{Query{Tail: 0, Match: "odd"}, ""},
		{Query{Tail: -1, Match: "^[24]$", Stream: "stderr"}, "err 4"},
		{Query{Tail: 1, Match: "never"}, ""},
		{Query{Tail: -1, Since: 2000}, ""},
	} {
		if got := strings.Join(texts(t, dir, tt.q), ","); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.q, got, tt.want)
		}
	}
}

// A line in pieces is one line: it matches as a whole, is counted once and
// stays together.
func TestSelectLongLines(t *testing.T) {
	dir := t.TempDir()
	now := sdk.Time(1000)
	out, errs := writers(t, dir, &now)
	long := strings.Repeat("x", logfile.MaxText-3) + "needle" + strings.Repeat("y", logfile.MaxText)
	fmt.Fprintf(out, "needle\n%s\nother\n%s\n", long, strings.ReplaceAll(long, "needle", "stitch"))
	fmt.Fprintf(errs, "needle too\n")
	out.Close()
	errs.Close()
	for _, tt := range []struct {
		q    Query
		want string
	}{
		{Query{Tail: -1, Match: "needle"}, "needle\n" + long + "\nneedle too\n"},
		{Query{Tail: -1, Match: "x+needley+$"}, long + "\n"},
		{Query{Tail: 1, Match: "needle", Stream: "stdout"}, long + "\n"},
		{Query{Tail: 2, Stream: "stdout", Until: 5000}, "other\n" + strings.ReplaceAll(long, "needle", "stitch") + "\n"},
		{Query{Tail: -1, Match: "^needle", Stream: "stderr"}, "needle too\n"},
	} {
		var got strings.Builder
		if err := Read(t.Context(), dir, tt.q, func(l []sdk.LogLine) error {
			for _, x := range l {
				got.Write(x.Text)
				if !x.Partial {
					got.WriteByte('\n')
				}
			}
			return nil
		}); err != nil || got.String() != tt.want {
			t.Errorf("%+v: %v, %d bytes, want %d", tt.q, err, got.Len(), len(tt.want))
		}
	}
}

func TestSidecar(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web.1", "log")
	now := sdk.Time(1000)
	for _, name := range []string{"proxy", "agent"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		w, _ := writers(t, filepath.Join(dir, name), &now)
		fmt.Fprintln(w, "of", name)
		w.Close()
	}
	if got := texts(t, dir, Query{Tail: -1, Sidecar: "proxy"}); !slices.Equal(got, []string{"out of proxy"}) {
		t.Error(got)
	}
	for _, name := range []string{"prox", "..", "proxy/../agent", "."} {
		err := Read(t.Context(), dir, Query{Sidecar: name}, nil)
		if sdk.KindOf(err) != sdk.NotFound || !strings.Contains(err.(*sdk.Fault).Fix, "agent, proxy") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// Where lines were lost is told, whatever else is asked for.
func TestDropped(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(logfile.Path(dir, logfile.Stdout, 0), []byte("5 F a\n6 D 12 records lost: no space left on device\n7 F b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []sdk.LogLine
	err := Read(t.Context(), dir, Query{Tail: -1, Match: "b"}, func(l []sdk.LogLine) error {
		got = append(got, l...)
		return nil
	})
	if err != nil || len(got) != 2 || got[0].Dropped != 12 || string(got[0].Text) != "no space left on device" || string(got[1].Text) != "b" {
		t.Errorf("%+v %v", got, err)
	}
}

// A followed log ends once the time it is read to has passed.
func TestFollowUntil(t *testing.T) {
	dir := t.TempDir()
	if err := Read(t.Context(), dir, Query{Tail: -1, Follow: true, Until: 1000, Ended: func() bool { return false }}, nil); err != nil {
		t.Error(err)
	}
}
