package replica

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/drupe-os/drupe/sdk"
)

// lockDir takes the folder for this process; the lock goes with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, writeFault(dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, sdk.Errorf(sdk.Conflict, dir, "another process uses this data folder").
			ToFix("stop the other server, or give this one a folder of its own")
	}
	return f, nil
}

// Verify checks every page and record of a data folder that nobody uses. It
// changes nothing. Errors: all damages found, each Corrupt; Conflict when a
// process uses the folder; NotFound when there is none.
func Verify(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "log.db")); errors.Is(err, fs.ErrNotExist) {
		return sdk.Errorf(sdk.NotFound, dir, "it holds no log")
	}
	lock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	err = verifyFile(filepath.Join(dir, "log.db"), logBucket, stableBucket)
	files, _ := filepath.Glob(filepath.Join(dir, "*"+snapshotSuffix))
	for _, f := range files {
		err = errors.Join(err, verifyFile(f, chunkBucket))
	}
	return err
}
