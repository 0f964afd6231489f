package replica

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"

	"github.com/drupe-os/drupe/sdk"
)

// Buckets of log.db and of snapshot files.
const (
	metaBucket   = "meta"
	logBucket    = "log"
	stableBucket = "stable"
	chunkBucket  = "chunks"
)

var (
	tallyPrefix = []byte("tally/")
	formatKey   = []byte("format")
)

// format is the version of both kinds of file; a file of another version is
// refused.
const format = "drupe-replica-1"

// numbered says whether a bucket's keys are numbers.
func numbered(bucket string) bool { return bucket != stableBucket }

// store is raft's log and its few stable values in one bbolt file. Writes come
// from raft's main goroutine, reads from any.
type store struct {
	path string
	db   *bolt.DB

	mu     sync.RWMutex
	log    tally
	stable tally
	failed error // the latest failed write
	broken error // set when the disk failed in a way that leaves its content unknown
}

// openStore opens log.db in dir, making it when the folder has none. The file
// is verified whole first. Errors: Corrupt, Exhausted, Unsupported.
func openStore(dir string) (*store, error) {
	path := filepath.Join(dir, "log.db")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createFile(path, logBucket, stableBucket); err != nil {
			return nil, writeFault(path, err)
		}
	}
	if err := verifyFile(path, logBucket, stableBucket); err != nil {
		return nil, err
	}
	db, err := bolt.Open(path, 0o600, boltOptions())
	if err != nil {
		return nil, writeFault(path, err)
	}
	s := &store{path: path, db: db}
	err = s.view(func(tx *bolt.Tx) error {
		f, err := getMeta(path, tx, formatKey)
		if err != nil {
			return err
		}
		if string(f) != format {
			return sdk.Errorf(sdk.Unsupported, path, "written in format %q, this version reads %q", f, format)
		}
		for b, t := range map[string]*tally{logBucket: &s.log, stableBucket: &s.stable} {
			v, err := getMeta(path, tx, tallyKey(b))
			if err != nil {
				return err
			}
			if *t, err = decodeTally(path, b, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

func (s *store) view(fn func(tx *bolt.Tx) error) error {
	return guard(s.path, func() error { return s.db.View(fn) })
}

// update runs one durable transaction. The caller holds s.mu.
func (s *store) update(fn func(tx *bolt.Tx) error) error {
	if s.broken != nil {
		s.failed = s.broken
		return s.broken
	}
	err := guard(s.path, func() error { return s.db.Update(fn) })
	if err == nil {
		return nil
	}
	err = writeFault(s.path, err)
	s.failed = err
	if sdk.KindOf(err) != sdk.Exhausted {
		// After a failed sync the kernel may have dropped the pages: what the
		// disk holds is known only after it was opened and verified again.
		s.broken = sdk.Errorf(sdk.Unavailable, s.path, "an earlier write failed: %v", err).
			ToFix("check the disk, then restart the server")
	}
	return err
}

// FirstIndex returns the lowest index in the log, 0 when it is empty.
func (s *store) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.log.first, nil
}

// LastIndex returns the highest index in the log, 0 when it is empty.
func (s *store) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.log.last, nil
}

// IsMonotonic tells raft that the log has no gaps.
func (s *store) IsMonotonic() bool { return true }

// GetLog reads one entry. Errors: raft.ErrLogNotFound, Corrupt.
func (s *store) GetLog(index uint64, out *raft.Log) error {
	return s.view(func(tx *bolt.Tx) error {
		key := number(index)
		sealed := tx.Bucket([]byte(logBucket)).Get(key)
		if sealed == nil {
			s.mu.RLock()
			inside := s.log.count > 0 && index >= s.log.first && index <= s.log.last
			s.mu.RUnlock()
			if inside {
				return corrupt(s.path, "bucket %s, key %x: record is missing", logBucket, key)
			}
			return raft.ErrLogNotFound
		}
		value, err := unseal(s.path, logBucket, key, sealed)
		if err != nil {
			return err
		}
		return decodeLog(s.path, index, value, out)
	})
}

// StoreLog appends one entry.
func (s *store) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs appends entries in one durable transaction. What the log held from
// the first one's index on is replaced. Errors: Exhausted when the disk is full
// (nothing changed), Unavailable after a failed disk.
func (s *store) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.log
	err := s.update(func(tx *bolt.Tx) error {
		t = s.log
		b := tx.Bucket([]byte(logBucket))
		b.FillPercent = 1 // keys only ever rise: half-empty pages would stay so
		if t.count > 0 && t.last >= logs[0].Index {
			if err := deleteRange(b, &t, logs[0].Index, t.last); err != nil {
				return err
			}
		}
		for _, l := range logs {
			key := number(l.Index)
			sealed := seal(logBucket, key, encodeLog(l))
			if err := b.Put(key, sealed); err != nil {
				return err
			}
			if t.count == 0 {
				t.first = l.Index
			}
			t.add(sealed)
			t.last = l.Index
		}
		return putMeta(tx.Bucket([]byte(metaBucket)), tallyKey(logBucket), t.encode())
	})
	if err == nil {
		s.log = t
	}
	return err
}

// DeleteRange removes the entries from low to high, both included.
func (s *store) DeleteRange(low, high uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.log
	err := s.update(func(tx *bolt.Tx) error {
		t = s.log
		if err := deleteRange(tx.Bucket([]byte(logBucket)), &t, low, high); err != nil {
			return err
		}
		return putMeta(tx.Bucket([]byte(metaBucket)), tallyKey(logBucket), t.encode())
	})
	if err == nil {
		s.log = t
	}
	return err
}

// deleteRange removes records and moves the tally's ends. The range must touch
// one end of the log.
func deleteRange(b *bolt.Bucket, t *tally, low, high uint64) error {
	if t.count == 0 || high < t.first || low > t.last {
		return nil
	}
	c := b.Cursor()
	for k, v := c.Seek(number(low)); k != nil && binary.BigEndian.Uint64(k) <= high; k, v = c.Seek(number(low)) {
		low = binary.BigEndian.Uint64(k) + 1
		t.remove(v)
		if err := c.Delete(); err != nil {
			return err
		}
	}
	t.first, t.last = 0, 0
	if k, _ := c.First(); k != nil {
		t.first = binary.BigEndian.Uint64(k)
	}
	if k, _ := c.Last(); k != nil {
		t.last = binary.BigEndian.Uint64(k)
	}
	return nil
}

// Set stores a stable value durably.
func (s *store) Set(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.stable
	err := s.update(func(tx *bolt.Tx) error {
		t = s.stable
		b := tx.Bucket([]byte(stableBucket))
		if old := b.Get(key); old != nil {
			t.remove(old)
		}
		sealed := seal(stableBucket, key, append([]byte(nil), value...))
		if err := b.Put(key, sealed); err != nil {
			return err
		}
		t.add(sealed)
		return putMeta(tx.Bucket([]byte(metaBucket)), tallyKey(stableBucket), t.encode())
	})
	if err == nil {
		s.stable = t
	}
	return err
}

// Get reads a stable value; one never set is nil.
func (s *store) Get(key []byte) (value []byte, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		sealed := tx.Bucket([]byte(stableBucket)).Get(key)
		if sealed == nil {
			return nil
		}
		v, err := unseal(s.path, stableBucket, key, sealed)
		value = append([]byte{}, v...)
		return err
	})
	return value, err
}

// SetUint64 stores a stable number durably.
func (s *store) SetUint64(key []byte, v uint64) error { return s.Set(key, number(v)) }

// GetUint64 reads a stable number; one never set is 0.
func (s *store) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, corrupt(s.path, "stable value %s has %d bytes, not 8", key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// scrub reads every record as bbolt serves it, while the store is in use.
func (s *store) scrub() error {
	return s.view(func(tx *bolt.Tx) error {
		for _, bucket := range []string{metaBucket, logBucket, stableBucket} {
			var got tally
			err := tx.Bucket([]byte(bucket)).ForEach(func(k, v []byte) error {
				_, err := unseal(s.path, bucket, k, v)
				got.add(v)
				return err
			})
			if err != nil || bucket == metaBucket {
				if err != nil {
					return err
				}
				continue
			}
			v, err := getMeta(s.path, tx, tallyKey(bucket))
			if err != nil {
				return err
			}
			if t, err := decodeTally(s.path, bucket, v); err != nil || got.count != t.count || got.sum != t.sum {
				return errors.Join(err, corrupt(s.path, "bucket %s does not hold what its tally says", bucket))
			}
		}
		return nil
	})
}

func (s *store) close() error { return s.db.Close() }

// cached is a store behind raft's cache of recent entries, which would tell of
// a failed write in words only.
type cached struct {
	*raft.LogCache
	store *store
}

func (c cached) StoreLog(l *raft.Log) error { return c.StoreLogs([]*raft.Log{l}) }

func (c cached) StoreLogs(logs []*raft.Log) error {
	if err := c.LogCache.StoreLogs(logs); err == nil {
		return nil
	}
	c.store.mu.RLock()
	defer c.store.mu.RUnlock()
	return c.store.failed
}
