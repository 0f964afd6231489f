package disk

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func record(i int) Record {
	id := sdk.TaskID(fmt.Sprintf("hello.%03d", i))
	return Record{
		Assignment: sdk.Assignment{Task: id, Ref: sdk.Ref{Kind: "service", Name: "hello"}, Role: "eng/web",
			Template: &sdk.Template{Run: sdk.Run{Container: &sdk.Container{Image: "oci:/images/hello:v1", Args: []string{"-v"}}},
				Resources: sdk.R(500, 64<<20)},
			Ports: []sdk.PortBinding{{Name: "http", Port: uint16(20000 + i)}}},
		Status: sdk.TaskStatus{Task: id, State: sdk.Running, PID: int32(i), Started: sdk.Time(i) * 1000},
		Image:  "sha256:aa", Launched: true,
	}
}

func open(t *testing.T, dir string) (*Store, *Loaded) {
	t.Helper()
	s, l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, l
}

func fill(t *testing.T, dir string, n int) (recs []Record, id Identity) {
	t.Helper()
	s, _ := open(t, dir)
	id = Identity{Node: "n-1", Name: "n1", Boot: "b"}
	if err := s.SaveIdentity(id); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		recs = append(recs, record(i))
	}
	for c := range slices.Chunk(recs, 10) {
		if err := s.Save(c, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return recs, id
}

func TestSaveLoad(t *testing.T) {
	dir := t.TempDir()
	recs, id := fill(t, dir, 50)
	s, l := open(t, dir)
	if !reflect.DeepEqual(l.Records, recs) || l.Identity != id || l.Incomplete || len(l.Damaged) > 0 {
		t.Fatalf("loaded %d records, identity %+v, damaged %v", len(l.Records), l.Identity, l.Damaged)
	}
	recs[3].Status.State = sdk.Finished
	if err := s.Save([]Record{recs[3], recs[3]}, []sdk.TaskID{recs[7].Status.Task, "never-there"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	want := slices.Delete(slices.Clone(recs), 7, 8)
	if _, l = open(t, dir); !reflect.DeepEqual(l.Records, want) || l.Incomplete {
		t.Fatalf("after a change: %d records, incomplete %v", len(l.Records), l.Incomplete)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, _, err := Open(dir); sdk.KindOf(err) != sdk.Conflict {
		t.Fatalf("second open: %v", err)
	}
}

// TestFlippedBits flips single bits all over the file: each is noticed or makes
// no difference, and no record that differs from what was saved is handed out.
func TestFlippedBits(t *testing.T) {
	dir := t.TempDir()
	recs, id := fill(t, dir, 60)
	want := map[sdk.TaskID]Record{}
	for _, r := range recs {
		want[r.Status.Task] = r
	}
	clean, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	n := 400
	if testing.Short() {
		n = 100
	}
	rng := rand.New(rand.NewPCG(7, 7))
	noticed, asides := 0, 0
	work := t.TempDir()
	for i := range n {
		// Half of the flips go to the headers of pages, where they hurt most.
		bit := rng.IntN(len(clean) * 8)
		if i%2 == 0 {
			bit = rng.IntN(len(clean)/4096)*4096*8 + rng.IntN(600*8)
		}
		dir := filepath.Join(work, fmt.Sprint(i))
		b := slices.Clone(clean)
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, fileName), b, 0o600)
		s, l, err := Open(dir)
		if err != nil {
			t.Fatalf("bit %d: %v", bit, err)
		}
		for _, r := range l.Records {
			if !reflect.DeepEqual(r, want[r.Status.Task]) && len(l.Damaged) == 0 {
				t.Fatalf("bit %d: a wrong record is served: %+v", bit, r)
			}
		}
		if len(l.Damaged) > 0 {
			noticed++
		}
		if len(l.Damaged) == 0 && (len(l.Records) != len(recs) || l.Identity != id) {
			t.Fatalf("bit %d: %d records, identity %+v, and nobody noticed", bit, len(l.Records), l.Identity)
		}
		if aside, _ := filepath.Glob(filepath.Join(dir, "checkpoint.damaged-*")); len(aside) > 0 {
			asides++
		}
		// What is left must work.
		if err := s.Save([]Record{record(1), record(999)}, []sdk.TaskID{"hello.002"}); err != nil {
			t.Fatalf("bit %d: save afterwards: %v", bit, err)
		}
		s.Close()
		s, l, err = Open(dir)
		if err != nil || l.Incomplete || len(l.Damaged) > 0 && bit > 8192*8 {
			t.Fatalf("bit %d: second open: %v, %+v", bit, err, l.Damaged)
		}
		s.Close()
		os.RemoveAll(dir)
	}
	t.Logf("%d of %d flips noticed, %d files set aside", noticed, n, asides)
	if noticed == 0 {
		t.Error("no flip was noticed: the test flips nothing that matters")
	}
}

func TestDamagedRecordIsNamed(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	path := filepath.Join(dir, fileName)
	b, _ := os.ReadFile(path)
	// Change a letter in each copy of one record's body.
	changed := false
	for i := range b {
		if i+20 < len(b) && string(b[i:i+9]) == "hello.001" {
			for j := i + 9; j < i+200 && j+9 < len(b) && string(b[j:j+9]) != "hello.002"; j++ {
				if string(b[j:j+6]) == "/image" {
					b[j] ^= 1
					changed = true
					break
				}
			}
		}
	}
	if !changed {
		t.Fatal("record not found in the file")
	}
	os.WriteFile(path, b, 0o600)
	_, l := open(t, dir)
	if len(l.Damaged) != 1 || l.Damaged[0].Task != "hello.001" || l.Damaged[0].Fault.Kind != sdk.Corrupt {
		t.Fatalf("damaged: %+v", l.Damaged)
	}
	if len(l.Records) != 2 {
		t.Fatalf("%d records left", len(l.Records))
	}
}

func TestIdentityOutlivesTheFile(t *testing.T) {
	dir := t.TempDir()
	_, id := fill(t, dir, 3)
	os.WriteFile(filepath.Join(dir, fileName), make([]byte, 16384), 0o600)
	_, l := open(t, dir)
	if l.Identity != id || !l.Incomplete || len(l.Damaged) == 0 {
		t.Fatalf("%+v", l)
	}
}

// TestDiskFull fills a small file system: saves fail clearly, what was saved
// before stays, and saving works again once there is space.
func TestDiskFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	s, _ := open(t, dir)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 700<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var saved []Record
	var err error
	for i := range 5000 {
		r := record(i)
		if err = s.Save([]Record{r}, nil); err != nil {
			break
		}
		saved = append(saved, r)
	}
	if sdk.KindOf(err) != sdk.Exhausted {
		t.Fatalf("after %d records: %v", len(saved), err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	more := record(99999)
	if err := s.Save([]Record{more}, nil); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	s.Close()
	s, l := open(t, dir)
	if len(l.Records) != len(saved)+1 || len(l.Damaged) > 0 {
		t.Fatalf("%d records of %d, damaged %v", len(l.Records), len(saved)+1, l.Damaged)
	}
	s.Close()
}
