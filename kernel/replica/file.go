package replica

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/drupe-os/drupe/sdk"
)

// createFile makes a bbolt file with empty buckets under a temporary name, so
// that a file under its own name is always whole.
func createFile(path string, buckets ...string) (err error) {
	tmp := path + ".tmp"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(tmp, 0o600, boltOptions())
	if err != nil {
		return err
	}
	// Two transactions, so that both meta pages are of ours.
	for range 2 {
		err = errors.Join(err, db.Update(func(tx *bolt.Tx) error {
			meta, err := tx.CreateBucketIfNotExists([]byte(metaBucket))
			if err != nil {
				return err
			}
			for _, b := range buckets {
				if _, err := tx.CreateBucketIfNotExists([]byte(b)); err != nil {
					return err
				}
				if err := putMeta(meta, tallyKey(b), tally{}.encode()); err != nil {
					return err
				}
			}
			return putMeta(meta, formatKey, []byte(format))
		}))
	}
	if err = errors.Join(err, db.Close()); err != nil {
		os.Remove(tmp)
		return err
	}
	return publish(tmp, path)
}

// publish gives a finished file its name, durably.
func publish(tmp, path string) error {
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func boltOptions() *bolt.Options {
	return &bolt.Options{
		Timeout:        time.Second,
		NoFreelistSync: true, // one page less to write per commit; rebuilt at open
		FreelistType:   bolt.FreelistMapType,
		// The file grows with the mapping while that is small: without it every
		// early commit would pay for a longer file.
		InitialMmapSize: 16 << 20,
		NoStatistics:    true,
	}
}

func tallyKey(bucket string) []byte { return append([]byte("tally/"), bucket...) }

func putMeta(meta *bolt.Bucket, key, value []byte) error {
	return meta.Put(key, seal(metaBucket, key, value))
}

func getMeta(path string, tx *bolt.Tx, key []byte) ([]byte, error) {
	return unseal(path, metaBucket, key, tx.Bucket([]byte(metaBucket)).Get(key))
}

// guard turns a crash inside bbolt, which trusts its mapped pages, into Corrupt.
func guard(path string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = corrupt(path, "reading its pages failed: %v", p)
		}
	}()
	return fn()
}

// writeFault says what a failed write means.
func writeFault(path string, err error) error {
	var f *sdk.Fault
	if errors.As(err, &f) {
		return err
	}
	for _, full := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		// bbolt drops the error's identity where it grows the file.
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return sdk.Errorf(sdk.Exhausted, path, "the disk is full: %w", err).
				ToFix("free space on the disk that holds the data folder; the server then goes on by itself")
		}
	}
	if errors.Is(err, bolt.ErrTimeout) {
		return sdk.Errorf(sdk.Conflict, path, "another process has it open")
	}
	return sdk.Errorf(sdk.Unavailable, path, "write: %w", err)
}
