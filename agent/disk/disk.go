// Package disk is a node's checkpoint: who it is, what it was told to run and
// what became of that, in one bbolt file.
//
// bbolt's pages carry no checksums, so each record carries its own, over its
// key and its bytes, and a summary record catches records that vanish. What
// does not match is never handed out: Load names it, and the agent derives that
// task anew from the servers and the runtime.
//
// Every Save is one synced transaction. The agent saves in batches and waits
// for a batch only where it has promised something: before it lets go of an
// exit that only the runtime still knows.
package disk

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drupe-os/drupe/sdk"
)

var (
	bucketTasks = []byte("tasks")
	bucketMeta  = []byte("meta")
	keyIdentity = []byte("identity")
	keySummary  = []byte("summary")
)

// fileName is the checkpoint in the agent's folder; identityName a second copy
// of the identity, for the day the checkpoint cannot be read.
const (
	fileName     = "checkpoint.db"
	identityName = "node-name"
)

// Store is an open checkpoint. Save and SaveIdentity may be called from one
// goroutine at a time.
type Store struct {
	db  *bolt.DB
	dir string
	sum summary
	// crc holds the checksum of each stored record, to keep the summary.
	crc map[sdk.TaskID]uint32
}

// Loaded is what a checkpoint held.
type Loaded struct {
	Identity Identity
	Records  []Record
	// Damaged are faults of kind Corrupt, one per record that did not match.
	Damaged []Damage
	// Incomplete: records are missing or their names cannot be known, so an
	// absent record proves nothing.
	Incomplete bool
}

// Damage is one record that was found damaged.
type Damage struct {
	Task  sdk.TaskID // empty when it was no task's record
	Fault *sdk.Fault
}

// Open opens or makes the checkpoint in dir and reads it. A file that cannot be
// read at all is set aside under a new name and a fresh one is begun; Loaded
// says so. Errors: Exhausted when the disk is full, Conflict when another agent
// uses dir, else Unavailable.
func Open(dir string) (*Store, *Loaded, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fault(err, "make folder")
	}
	s := &Store{dir: dir}
	l, err := s.openAndLoad()
	if sdk.KindOf(err) == sdk.Corrupt {
		aside := filepath.Join(dir, fmt.Sprintf("checkpoint.damaged-%d.db", time.Now().UnixMilli()))
		if rerr := os.Rename(filepath.Join(dir, fileName), aside); rerr != nil {
			return nil, nil, fault(rerr, "set the damaged checkpoint aside")
		}
		damage := Damage{Fault: sdk.Errorf(sdk.Corrupt, "checkpoint", "cannot be read: %v", err).
			ToFix("it was kept as %s; tasks are derived anew from the servers and the runtime", filepath.Base(aside))}
		if l, err = s.openAndLoad(); err == nil {
			l.Damaged = append(l.Damaged, damage)
			l.Incomplete = true
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if l.Identity == (Identity{}) {
		l.Identity = s.identityCopy()
	}
	return s, l, nil
}

// openAndLoad checks the file's pages, opens it and reads all of it.
func (s *Store) openAndLoad() (l *Loaded, err error) {
	defer caught(&err)
	path := filepath.Join(s.dir, fileName)
	sound, err := walk(path)
	if err != nil {
		return nil, err
	}
	// The free list is not stored but found anew at each start: a damaged one
	// would have pages in use written over.
	s.db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, NoFreelistSync: true})
	if err != nil {
		return nil, openFault(err)
	}
	if err = s.prepare(); err == nil {
		l, err = s.load()
	}
	if err != nil {
		s.db.Close()
		return nil, err
	}
	if !sound {
		l.Incomplete = true
		l.Damaged = append(l.Damaged, Damage{Fault: sdk.Errorf(sdk.Corrupt, "checkpoint", "a header page is damaged").
			Because("the last change before the agent ended may be missing")})
	}
	return l, nil
}

// Close closes the checkpoint.
func (s *Store) Close() error { return s.db.Close() }

func (s *Store) prepare() error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucketIfNotExists(bucketTasks); err != nil {
			return err
		}
		b, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil || b.Get(keySummary) != nil || !empty(tx.Bucket(bucketTasks)) {
			return err
		}
		return put(b, keySummary, &summary{})
	})
	return fault(err, "prepare")
}

func empty(b *bolt.Bucket) bool {
	k, _ := b.Cursor().First()
	return k == nil
}

func (s *Store) load() (*Loaded, error) {
	l := &Loaded{}
	s.crc, s.sum = map[sdk.TaskID]uint32{}, summary{}
	err := s.db.View(func(tx *bolt.Tx) error {
		meta, tasks := tx.Bucket(bucketMeta), tx.Bucket(bucketTasks)
		if v := meta.Get(keyIdentity); v != nil {
			if err := get(keyIdentity, v, &l.Identity); err != nil {
				l.Identity = Identity{}
				l.Damaged = append(l.Damaged, Damage{Fault: err})
			}
		}
		var found, want summary
		err := tasks.ForEach(func(k, v []byte) error {
			var r Record
			if err := get(k, v, &r); err != nil {
				l.Damaged = append(l.Damaged, Damage{Task: sdk.TaskID(k), Fault: err})
				return nil
			}
			sum := binary.LittleEndian.Uint32(v)
			s.crc[sdk.TaskID(k)] = sum
			found.add(sum)
			l.Records = append(l.Records, r)
			return nil
		})
		if err != nil {
			return err
		}
		s.sum = found
		if err := get(keySummary, meta.Get(keySummary), &want); err != nil || want != found {
			l.Incomplete = true
			if len(l.Damaged) == 0 {
				l.Damaged = append(l.Damaged, Damage{Fault: sdk.Errorf(sdk.Corrupt, "checkpoint", "records are missing").
					Because("%d are there, %d were written", found.Count, want.Count)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fault(err, "read")
	}
	return l, s.dropDamaged(l)
}

// dropDamaged removes what did not match and writes the summary anew, so that
// damage is told once.
func (s *Store) dropDamaged(l *Loaded) error {
	if len(l.Damaged) == 0 {
		return nil
	}
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, d := range l.Damaged {
			if d.Task == "" {
				continue
			}
			if err := tx.Bucket(bucketTasks).Delete([]byte(d.Task)); err != nil {
				return err
			}
		}
		return put(tx.Bucket(bucketMeta), keySummary, &s.sum)
	})
	return fault(err, "repair")
}

// Save writes put and deletes del in one synced transaction: when it returns
// without error they are on disk, otherwise nothing changed. Errors: Exhausted
// when the disk is full, else Unavailable.
func (s *Store) Save(recs []Record, del []sdk.TaskID) (err error) {
	defer caught(&err)
	sum := s.sum
	fresh := make(map[sdk.TaskID]uint32, len(recs))
	err = s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketTasks)
		for i := range recs {
			id := recs[i].Status.Task
			v, err := encode([]byte(id), &recs[i])
			if err != nil {
				return err
			}
			if err := b.Put([]byte(id), v); err != nil {
				return err
			}
			old, known := fresh[id]
			if !known {
				old, known = s.crc[id]
			}
			if known {
				sum.remove(old)
			}
			fresh[id] = binary.LittleEndian.Uint32(v)
			sum.add(fresh[id])
		}
		for _, id := range del {
			if old, ok := s.crc[id]; ok {
				sum.remove(old)
				if err := b.Delete([]byte(id)); err != nil {
					return err
				}
			}
		}
		return put(tx.Bucket(bucketMeta), keySummary, &sum)
	})
	if err != nil {
		return fault(err, "save")
	}
	s.sum = sum
	for id, c := range fresh {
		s.crc[id] = c
	}
	for _, id := range del {
		delete(s.crc, id)
	}
	return nil
}

// SaveIdentity writes who this node is, twice: in the checkpoint and beside it.
func (s *Store) SaveIdentity(id Identity) (err error) {
	defer caught(&err)
	err = s.db.Update(func(tx *bolt.Tx) error {
		return put(tx.Bucket(bucketMeta), keyIdentity, &id)
	})
	if err != nil {
		return fault(err, "save identity")
	}
	v, err := encode(keyIdentity, &id)
	if err != nil {
		return err
	}
	return fault(writeFile(s.dir, identityName, v), "save identity")
}

func (s *Store) identityCopy() Identity {
	var id Identity
	v, err := os.ReadFile(filepath.Join(s.dir, identityName))
	if err != nil || get(keyIdentity, v, &id) != nil {
		return Identity{}
	}
	return id
}

func (s *summary) add(sum uint32)    { s.Count++; s.Sums += uint64(sum) }
func (s *summary) remove(sum uint32) { s.Count--; s.Sums -= uint64(sum) }

// caught turns a panic of bbolt about its own pages into a fault.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = sdk.Errorf(sdk.Corrupt, "checkpoint", "%v", p).
			ToFix("restart the agent; it sets the damaged file aside")
	}
}
