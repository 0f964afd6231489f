package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"github.com/drupe-os/drupe/sdk"
)

const (
	snapshotSuffix = ".snapshot"
	// chunkSize is the size of a snapshot's records; the last may be shorter.
	chunkSize = 64 << 10
	// chunksPerCommit bounds what one transaction keeps in memory.
	chunksPerCommit = 32
	// keepSnapshots is how many are kept: the log reaches back to the older one,
	// so a damaged newer one costs nothing but time.
	keepSnapshots = 2
)

var snapshotKey = []byte("snapshot")

// snapshots keeps each snapshot in a bbolt file of its own, so that writing one
// never waits for, or delays, the log.
type snapshots struct {
	dir string
	log *slog.Logger

	damaged uint64 // highest index of a snapshot that was found damaged

	mu   sync.Mutex
	list []*raft.SnapshotMeta // newest first
}

// openSnapshots verifies every snapshot in dir. A damaged one is left where it
// is, logged, and not used; whether an older one is enough is checked by Open.
func openSnapshots(dir string, log *slog.Logger) (*snapshots, error) {
	s := &snapshots{dir: dir, log: log}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		if strings.HasSuffix(f.Name(), ".tmp") {
			os.Remove(path) // was being written when we were killed
		}
		if !strings.HasSuffix(f.Name(), snapshotSuffix) {
			continue
		}
		meta, err := readSnapshotMeta(path)
		if err != nil {
			log.Error("snapshot is damaged and not used", "file", path, "error", err)
			index, _, _ := strings.Cut(f.Name(), "-")
			if n, err := strconv.ParseUint(index, 10, 64); err == nil {
				s.damaged = max(s.damaged, n)
			}
			continue
		}
		s.list = append(s.list, meta)
	}
	s.sort()
	return s, nil
}

func readSnapshotMeta(path string) (*raft.SnapshotMeta, error) {
	if err := verifyFile(path, chunkBucket); err != nil {
		return nil, err
	}
	db, err := openReadOnly(path)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var meta raft.SnapshotMeta
	err = guard(path, func() error {
		return db.View(func(tx *bolt.Tx) error {
			if f, err := getMeta(path, tx, formatKey); err != nil || string(f) != format {
				return errors.Join(err, sdk.Errorf(sdk.Unsupported, path, "written in format %q, this version reads %q", f, format))
			}
			v, err := getMeta(path, tx, snapshotKey)
			if err != nil {
				return err
			}
			return json.Unmarshal(v, &meta)
		})
	})
	return &meta, err
}

func openReadOnly(path string) (*bolt.DB, error) {
	o := boltOptions()
	o.ReadOnly, o.InitialMmapSize = true, 0
	return bolt.Open(path, 0o600, o)
}

func (s *snapshots) sort() {
	sort.Slice(s.list, func(i, j int) bool {
		a, b := s.list[i], s.list[j]
		if a.Index != b.Index {
			return a.Index > b.Index
		}
		return a.Term > b.Term
	})
}

func (s *snapshots) path(id string) string { return filepath.Join(s.dir, id+snapshotSuffix) }

// Create starts a snapshot. Nothing of it is visible before its sink is closed.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	meta := &raft.SnapshotMeta{
		Version: version, Index: index, Term: term, Configuration: conf, ConfigurationIndex: confIndex,
		ID: fmt.Sprintf("%020d-%d", index, term),
	}
	tmp := s.path(meta.ID) + ".tmp"
	if err := createFile(tmp, chunkBucket); err != nil {
		return nil, writeFault(tmp, err)
	}
	o := boltOptions()
	o.NoSync, o.NoGrowSync = true, true // synced once, at Close
	db, err := bolt.Open(tmp, 0o600, o)
	if err != nil {
		os.Remove(tmp)
		return nil, writeFault(tmp, err)
	}
	return &sink{s: s, meta: meta, tmp: tmp, db: db}, nil
}

// List returns the usable snapshots, newest first.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*raft.SnapshotMeta(nil), s.list...), nil
}

// Open reads a snapshot; each chunk is verified before it is handed out.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.list {
		if m.ID == id {
			db, err := openReadOnly(s.path(id))
			if err != nil {
				return nil, nil, err
			}
			return m, &snapshotReader{path: s.path(id), db: db, left: m.Size}, nil
		}
	}
	return nil, nil, sdk.Errorf(sdk.NotFound, "snapshot "+id, "there is no such snapshot")
}

// finish takes a finished snapshot in and removes those beyond keepSnapshots.
func (s *snapshots) finish(meta *raft.SnapshotMeta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := []*raft.SnapshotMeta{meta}
	for _, m := range s.list {
		if m.ID != meta.ID {
			kept = append(kept, m)
		}
	}
	s.list = kept
	s.sort()
	for len(s.list) > keepSnapshots {
		old := s.list[len(s.list)-1]
		s.list = s.list[:len(s.list)-1]
		if err := os.Remove(s.path(old.ID)); err != nil {
			s.log.Warn("old snapshot not removed", "id", old.ID, "error", err)
		}
	}
}

// sink receives one snapshot.
type sink struct {
	s     *snapshots
	meta  *raft.SnapshotMeta
	tmp   string
	db    *bolt.DB
	buf   []byte
	tally tally
	done  bool
}

// ID returns the snapshot's id.
func (k *sink) ID() string { return k.meta.ID }

// Write takes more of the snapshot.
func (k *sink) Write(p []byte) (int, error) {
	k.buf = append(k.buf, p...)
	k.meta.Size += int64(len(p))
	if len(k.buf) >= chunkSize*chunksPerCommit {
		if err := k.flush(len(k.buf) / chunkSize * chunkSize); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flush writes the first n buffered bytes as chunks.
func (k *sink) flush(n int) error {
	t := k.tally
	err := guard(k.tmp, func() error {
		return k.db.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket([]byte(chunkBucket))
			b.FillPercent = 1
			for at := 0; at < n; at += chunkSize {
				key := number(t.count)
				sealed := seal(chunkBucket, key, append([]byte(nil), k.buf[at:min(at+chunkSize, n)]...))
				if err := b.Put(key, sealed); err != nil {
					return err
				}
				t.last = t.count
				t.add(sealed)
			}
			return putMeta(tx.Bucket([]byte(metaBucket)), tallyKey(chunkBucket), t.encode())
		})
	})
	if err != nil {
		return writeFault(k.tmp, err)
	}
	k.tally = t
	k.buf = k.buf[:copy(k.buf, k.buf[n:])]
	return nil
}

// Close makes the snapshot durable and visible.
func (k *sink) Close() error {
	if k.done {
		return nil
	}
	err := k.flush(len(k.buf))
	if err == nil {
		err = k.db.Update(func(tx *bolt.Tx) error {
			v, err := json.Marshal(k.meta)
			if err != nil {
				return err
			}
			return putMeta(tx.Bucket([]byte(metaBucket)), snapshotKey, v)
		})
	}
	if err == nil {
		err = k.db.Sync()
	}
	if err != nil {
		return errors.Join(writeFault(k.tmp, err), k.Cancel())
	}
	k.done = true
	if err := errors.Join(k.db.Close(), publish(k.tmp, k.s.path(k.meta.ID))); err != nil {
		os.Remove(k.tmp)
		return writeFault(k.tmp, err)
	}
	k.s.finish(k.meta)
	return nil
}

// Cancel gives the snapshot up.
func (k *sink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	return errors.Join(k.db.Close(), os.Remove(k.tmp))
}

// snapshotReader hands a snapshot out, one verified chunk after the other.
type snapshotReader struct {
	path string
	db   *bolt.DB
	next uint64
	left int64
	buf  []byte
}

// Read returns verified bytes. Errors: Corrupt, io.EOF after the last.
func (r *snapshotReader) Read(p []byte) (int, error) {
	for len(r.buf) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		err := guard(r.path, func() error {
			return r.db.View(func(tx *bolt.Tx) error {
				key := number(r.next)
				value, err := unseal(r.path, chunkBucket, key, tx.Bucket([]byte(chunkBucket)).Get(key))
				r.buf = append(r.buf[:0], value...)
				return err
			})
		})
		if err != nil {
			return 0, err
		}
		if len(r.buf) == 0 || int64(len(r.buf)) > r.left {
			return 0, corrupt(r.path, "chunk %d has %d bytes, %d are left", r.next, len(r.buf), r.left)
		}
		r.next++
		r.left -= int64(len(r.buf))
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

// Close ends the reading.
func (r *snapshotReader) Close() error { return r.db.Close() }
