package logfile

import (
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func clock() func() sdk.Time {
	var t sdk.Time = 1000
	return func() sdk.Time { t++; return t }
}

func all(t *testing.T, r *Reader) (lines []string) {
	t.Helper()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(rec.Kind)+" "+string(rec.Text))
	}
}

func read(t *testing.T, dir string, n int64) []string {
	t.Helper()
	r, err := Open(dir, Stdout, n)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return all(t, r)
}

func TestRecords(t *testing.T) {
	long := strings.Repeat("x", MaxText)
	tests := []struct {
		name   string
		writes []string
		want   []string
	}{
		{"whole lines", []string{"a\nb\n"}, []string{"F a", "F b"}},
		{"a line in pieces", []string{"a", "b", "\nc\n"}, []string{"F ab", "F c"}},
		{"no last line end", []string{"a\nb"}, []string{"F a", "F b"}},
		{"empty lines", []string{"\n\n"}, []string{"F ", "F "}},
		{"exactly the bound", []string{long + "\nb\n"}, []string{"F " + long, "F b"}},
		{"over the bound", []string{long + "y\nb\n"}, []string{"P " + long, "F y", "F b"}},
		{"over the bound in pieces", []string{long[:9000], long[:9000], "\n"}, []string{"P " + long, "F " + long[:18000-MaxText]}},
		{"bytes that are no text", []string{"\x00\xff F \r\n"}, []string{"F \x00\xff F \r"}},
		{"nothing", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			w := NewWriter(dir, Stdout, sdk.LogLimits{}, clock())
			for _, p := range tt.writes {
				w.Write([]byte(p))
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got := read(t, dir, -1)
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %.200q, want %.200q", got, tt.want)
			}
		})
	}
}

func TestShapeOnDisk(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, Stderr, sdk.LogLimits{}, func() sdk.Time { return 1700000000123 })
	w.Write([]byte("hello world\n"))
	w.Close()
	b, _ := os.ReadFile(filepath.Join(dir, "stderr.log"))
	if got, want := string(b), "1700000000123 F hello world\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRotationKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, Stdout, sdk.LogLimits{MaxBytes: 4096, Files: 3}, clock())
	for i := range 2000 {
		fmt.Fprintf(w, "line %d\n", i)
	}
	w.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 3 {
		t.Fatalf("files %v, want 3", files)
	}
	for _, f := range files {
		if st, _ := os.Stat(f); st.Size() > 4096+MaxText {
			t.Errorf("%s holds %d bytes", f, st.Size())
		}
	}
	got := read(t, dir, -1)
	if got[len(got)-1] != "F line 1999" {
		t.Errorf("last is %q", got[len(got)-1])
	}
	var first int
	fmt.Sscanf(got[0], "F line %d", &first)
	if len(got) != 2000-first || first == 0 {
		t.Errorf("%d lines from %d on: there is a gap, or nothing was rotated", len(got), first)
	}
}

func TestTail(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, Stdout, sdk.LogLimits{MaxBytes: 64 << 10, Files: 4}, clock())
	big := strings.Repeat("z", 3*MaxText)
	for i := range 500 {
		fmt.Fprintf(w, "line %d %s\n", i, strings.Repeat("p", 300))
	}
	fmt.Fprintf(w, "%s\nend\n", big)
	w.Close()
	for _, tt := range []struct {
		n             int64
		first         string
		wantAtLeast   int
		wantAfterward string
	}{
		{0, "", 0, ""},
		{1, "F end", 1, ""},
		{2, "P zzz", 4, ""},
		{3, "F line 499 ", 5, ""},
		{300, "F line 202 ", 302, ""},
		{100000, "F line", 300, ""},
	} {
		got := read(t, dir, tt.n)
		if len(got) < tt.wantAtLeast || (len(got) > 0 && !strings.HasPrefix(got[0], tt.first)) {
			t.Errorf("tail %d: %d records from %.20q, want %d from %q", tt.n, len(got), got, tt.wantAtLeast, tt.first)
		}
	}
}

// A reader that follows sees every line once, in order, however reading,
// writing, rotation and reopening of the writer interleave, as long as it is
// not left further behind than the files that are kept.
func TestFollowAcrossRotation(t *testing.T) {
	for seed := range int64(50) {
		rng := rand.New(rand.NewSource(seed))
		dir := t.TempDir()
		limits := sdk.LogLimits{MaxBytes: 4096, Files: 3}
		r, err := Open(dir, Stdout, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := NewWriter(dir, Stdout, limits, clock())
		var got []string
		written := 0
		for range 300 {
			switch rng.Intn(8) {
			case 0:
				got = append(got, all(t, r)...)
			case 1:
				w.Close()
				w = NewWriter(dir, Stdout, limits, clock())
			default:
				for range rng.Intn(5) {
					fmt.Fprintf(w, "%d %s\n", written, strings.Repeat("-", rng.Intn(200)))
					written++
				}
			}
			if rng.Intn(4) == 0 {
				got = append(got, all(t, r)...)
			}
		}
		w.Close()
		got = append(got, all(t, r)...)
		r.Close()
		if len(got) != written {
			t.Fatalf("seed %d: %d lines read of %d", seed, len(got), written)
		}
		for i, line := range got {
			if !strings.HasPrefix(line, fmt.Sprintf("F %d ", i)) {
				t.Fatalf("seed %d: line %d is %.20q", seed, i, line)
			}
		}
	}
}

func TestReaderThatFellBehindGoesOnAtTheOldest(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, Stdout, sdk.LogLimits{MaxBytes: 4096, Files: 2}, clock())
	fmt.Fprintln(w, "first")
	r, _ := Open(dir, Stdout, -1)
	defer r.Close()
	if got := all(t, r); len(got) != 1 {
		t.Fatal(got)
	}
	for i := range 2000 {
		fmt.Fprintf(w, "line %d\n", i)
	}
	got := all(t, r)
	if len(got) == 0 || got[len(got)-1] != "F line 1999" {
		t.Errorf("%d lines, the last not the newest", len(got))
	}
}

// Between the two halves of a rotation there is no newest file.
func TestHalfDoneRotation(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, Stdout, sdk.LogLimits{}, clock())
	fmt.Fprintln(w, "a")
	w.Close()
	r, _ := Open(dir, Stdout, -1)
	defer r.Close()
	os.Rename(Path(dir, Stdout, 0), Path(dir, Stdout, 1))
	if got := all(t, r); fmt.Sprint(got) != "[F a]" {
		t.Fatal(got)
	}
	w = NewWriter(dir, Stdout, sdk.LogLimits{}, clock())
	fmt.Fprintln(w, "b")
	w.Close()
	if got := all(t, r); fmt.Sprint(got) != "[F b]" {
		t.Fatal(got)
	}
}

// What a crash left half written is cut off, and the log goes on.
func TestInterruptedRecord(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(Path(dir, Stdout, 0), []byte("1 F a\n2 F hal"), 0o600)
	w := NewWriter(dir, Stdout, sdk.LogLimits{}, clock())
	fmt.Fprintln(w, "b")
	w.Close()
	if got := read(t, dir, -1); fmt.Sprint(got) != "[F a F b]" {
		t.Error(got)
	}
}

func TestDamagedLinesArePassedOver(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(Path(dir, Stdout, 0), []byte("1 F a\nnonsense\n\n5 Q x\n"+strings.Repeat("y", 3*maxLine)+"\n2 F b\n"), 0o600)
	if got := read(t, dir, -1); fmt.Sprint(got) != "[F a F b]" {
		t.Error(got)
	}
}

// full is a disk with room for some bytes only.
type full struct {
	*os.File
	room int
}

func (f *full) Write(p []byte) (int, error) {
	if len(p) > f.room {
		n, _ := f.File.Write(p[:f.room])
		f.room = 0
		return n, &os.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC}
	}
	f.room -= len(p)
	return f.File.Write(p)
}

func TestFullDiskDropsAndTells(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir, Stdout, sdk.LogLimits{}, clock())
	var disk *full
	w.open = func(path string) (file, int64, error) {
		f, n, err := openAppend(path)
		if err != nil {
			return nil, 0, err
		}
		disk = &full{f.(*os.File), 20}
		return disk, n, nil
	}
	fmt.Fprintln(w, "one") // 11 bytes
	fmt.Fprintln(w, "lost 1")
	fmt.Fprintln(w, "lost 2\nlost 3")
	disk.room = 1000
	fmt.Fprintln(w, "two")
	disk.room = 0
	fmt.Fprintln(w, "lost 4")
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("close: %v, want no space", err)
	}
	want := []string{"F one", "D 3 records lost: no space left on device", "F two"}
	if got := read(t, dir, -1); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFolderThatDoesNotExistYet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	w := NewWriter(dir, Stdout, sdk.LogLimits{}, clock())
	fmt.Fprintln(w, "lost")
	os.Mkdir(dir, 0o700)
	fmt.Fprintln(w, "kept")
	w.Close()
	got := read(t, dir, -1)
	if len(got) != 2 || !strings.HasPrefix(got[0], "D 1 records lost") || got[1] != "F kept" {
		t.Errorf("got %q", got)
	}
}

func BenchmarkWrite(b *testing.B) {
	w := NewWriter(b.TempDir(), Stdout, sdk.LogLimits{}, clock())
	chunk := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 320))
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		w.Write(chunk)
	}
	w.Close()
}
