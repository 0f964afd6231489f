package replica

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"github.com/drupe-os/drupe/sdk"
)

// content is all that a store serves.
type content struct {
	First, Last uint64
	Logs        []raft.Log
	Stable      map[string]string
}

func read(s *store) (c content, err error) {
	c.Stable = map[string]string{}
	c.First, _ = s.FirstIndex()
	c.Last, _ = s.LastIndex()
	for i := c.First; i <= c.Last; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			return c, err
		}
		c.Logs = append(c.Logs, l)
	}
	for i := range 40 {
		k := fmt.Sprintf("stable %d", i)
		v, err := s.Get([]byte(k))
		if err != nil {
			return c, err
		}
		c.Stable[k] = string(v)
	}
	return c, nil
}

// grown makes a store with a past: entries of several sizes, overwritten ones,
// a compacted beginning, stable values in pages of their own.
func grown(t *testing.T, dir string) content {
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	index := uint64(1)
	batch := func(n, size int, term uint64) {
		var logs []*raft.Log
		for range n {
			logs = append(logs, &raft.Log{Index: index, Term: term, Data: bytes.Repeat([]byte{byte(index)}, size), AppendedAt: time.Unix(0, int64(index))})
			index++
		}
		check(s.StoreLogs(logs))
	}
	for i := range 30 {
		batch(20, 100, 1)
		if i%5 == 0 {
			batch(1, 20000, 1)
		}
		check(s.Set(fmt.Appendf(nil, "stable %d", i), bytes.Repeat([]byte{byte(i)}, 50)))
		check(s.Set(fmt.Appendf(nil, "stable %d", i/2), bytes.Repeat([]byte{byte(i)}, 50)))
	}
	index -= 15
	batch(10, 300, 2)
	check(s.DeleteRange(1, 40))
	c, err := read(s)
	check(err)
	if c.First != 41 || c.Last != index-1 || int(c.Last-c.First+1) != len(c.Logs) {
		t.Fatalf("log from %d to %d, want 41 to %d", c.First, c.Last, index-1)
	}
	return c
}

// used returns how much of a bbolt file is in use; the rest is a hole.
func used(b []byte) int { return len(bytes.TrimRight(b, "\x00")) }

// Every flipped bit is noticed, or changes nothing that is served.
func TestFlippedBits(t *testing.T) {
	dir := t.TempDir()
	want := grown(t, dir)
	good, err := os.ReadFile(filepath.Join(dir, "log.db"))
	if err != nil {
		t.Fatal(err)
	}
	n := used(good)
	good = good[:(n+4095)/4096*4096]
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	const flips = 400
	noticed := 0
	bad := t.TempDir()
	for i := range flips {
		at := rng.IntN(n)
		if i%4 == 0 { // page headers and element tables deserve more than their share
			at = at/4096*4096 + rng.IntN(256)
		}
		b := bytes.Clone(good)
		b[at] ^= 1 << rng.IntN(8)
		path := filepath.Join(bad, "log.db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openStore(bad)
		if err == nil {
			var got content
			got, err = read(s)
			if err == nil && !reflect.DeepEqual(got, want) {
				t.Errorf("seed %d: flip at byte %d changed what is served, unnoticed", seed, at)
			}
			s.close()
		}
		if err != nil {
			noticed++
			if k := sdk.KindOf(err); k != sdk.Corrupt && k != sdk.Unsupported || !strings.Contains(err.Error(), path) {
				t.Errorf("seed %d: flip at byte %d: fault does not say what it is: %v", seed, at, err)
			}
		}
	}
	t.Logf("%d of %d flips noticed, the others lie in unused space", noticed, flips)
	if noticed == 0 {
		t.Error("no flip was noticed at all")
	}
}

// A record under a valid page whose bytes changed is named by file, bucket, key.
func TestCorruptNamesTheRecord(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.StoreLog(&raft.Log{Index: 7, Term: 1, Data: []byte("a well known text")}); err != nil {
		t.Fatal(err)
	}
	s.close()
	path := filepath.Join(dir, "log.db")
	b, _ := os.ReadFile(path)
	i := bytes.LastIndex(b, []byte("well known"))
	b[i] ^= 1
	os.WriteFile(path, b, 0o600)
	_, err = openStore(dir)
	if sdk.KindOf(err) != sdk.Corrupt || !strings.Contains(err.Error(), path) ||
		!strings.Contains(err.Error(), "bucket log, key 0000000000000007") {
		t.Fatal(err)
	}
}

// While the store is in use a flip is met by the next read of the record.
func TestFlipWhileInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.StoreLog(&raft.Log{Index: 1, Term: 1, Data: []byte("a well known text")}); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "log.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, _ := os.ReadFile(f.Name())
	at := int64(bytes.LastIndex(b, []byte("well known")))
	if _, err := f.WriteAt([]byte{b[at] ^ 1}, at); err != nil {
		t.Fatal(err)
	}
	var l raft.Log
	if err := s.GetLog(1, &l); sdk.KindOf(err) != sdk.Corrupt {
		t.Fatalf("read: %v, %q", err, l.Data)
	}
	if err := s.scrub(); sdk.KindOf(err) != sdk.Corrupt {
		t.Fatalf("scrub: %v", err)
	}
}

// A record that vanished with all others intact, as when a pointer leads to an
// older page, is missed by the tally; so is the last transaction by the meta
// pages when the newer of them is damaged.
func TestVanishedRecords(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"record": func(path string) error {
			db, err := bolt.Open(path, 0o600, boltOptions())
			if err != nil {
				return err
			}
			defer db.Close()
			return db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(logBucket)).Delete(number(50)) })
		},
		"meta page 0": func(path string) error { return flip(path, pageHeader+50) },
		"meta page 1": func(path string) error { return flip(path, int64(os.Getpagesize())+pageHeader+50) },
	} {
		dir := t.TempDir()
		grown(t, dir)
		if err := harm(filepath.Join(dir, "log.db")); err != nil {
			t.Fatal(err)
		}
		if _, err := openStore(dir); sdk.KindOf(err) != sdk.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func flip(path string, at int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{b[0] ^ 1}, at)
	return err
}
