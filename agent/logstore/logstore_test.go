package logstore

import (
	"context"
	"fmt"
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
