package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// fresh is how long an image that was asked for is kept in any case: whoever
// asked may not have said yet that it is in use.
const fresh = 10 * time.Minute

// candidate is an image and when it was last asked for.
type candidate struct {
	img  *Image
	last time.Time
}

// Sweep removes the images that are not in use and were not asked for in the
// last age, and the layers and modules that no image needs any more. It returns
// how many layers and modules went. While an image is being resolved it does
// nothing.
func (s *Store) Sweep(inUse []sdk.Digest, age time.Duration) (removed int, err error) {
	return s.remove(inUse, func(c candidate) bool { return time.Since(c.last) >= age })
}

// Relieve removes images that are not in use, the longest unasked for first,
// until enough reports true. Those asked for in the last ten minutes stay. It
// returns how many layers and modules went. While an image is being resolved it
// does nothing.
func (s *Store) Relieve(inUse []sdk.Digest, enough func() bool) (removed int, err error) {
	for !enough() {
		gone := false
		n, err := s.remove(inUse, func(c candidate) bool {
			if gone || time.Since(c.last) < fresh {
				return false
			}
			gone = true
			return true
		})
		removed += n
		if err != nil || !gone {
			return removed, err
		}
	}
	return removed, nil
}

// remove removes the images not in use that go picks, asked in the order of
// their last use, and what only they needed.
func (s *Store) remove(inUse []sdk.Digest, goes func(candidate) bool) (removed int, err error) {
	if !s.sweeping.TryLock() {
		return 0, nil
	}
	defer s.sweeping.Unlock()
	list, err := s.candidates()
	if err != nil {
		return 0, classify(err, "sweep")
	}
	keep := map[string]bool{}
	for _, c := range list {
		used := slices.ContainsFunc(c.img.names(), func(d sdk.Digest) bool { return slices.Contains(inUse, d) })
		if !used && goes(c) {
			for _, d := range c.img.names() {
				if err := os.Remove(s.imageFile(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return 0, classify(err, "sweep")
				}
			}
			continue
		}
		for _, b := range c.img.Blobs {
			keep[hexOf(b)] = true
		}
		keep[hexOf(c.img.Module)] = true
	}
	for _, sub := range []string{"layers", "modules"} {
		n, err := s.drop(sub, keep)
		removed += n
		if err != nil {
			return removed, classify(err, "sweep")
		}
	}
	return removed, nil
}

// candidates returns the images that are here whole, the longest unasked for
// first. Notes that say nothing any more are removed.
func (s *Store) candidates() ([]candidate, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "images"))
	if err != nil {
		return nil, err
	}
	by := map[sdk.Digest]candidate{}
	for _, e := range entries {
		d := sdk.Digest("sha256:" + e.Name())
		img, ok := s.known(d)
		info, err := e.Info()
		if !ok || err != nil {
			if err := os.Remove(s.imageFile(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		c, seen := by[img.Digest]
		if !seen || info.ModTime().After(c.last) {
			c = candidate{img, info.ModTime()}
		}
		by[img.Digest] = c
	}
	var out []candidate
	for _, c := range by {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b candidate) int { return a.last.Compare(b.last) })
	return out, nil
}

// drop removes what is in the folder and not kept.
func (s *Store) drop(sub string, keep map[string]bool) (removed int, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, sub))
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		// Out of the folder in one step, so that no half keeps its name.
		tmp := filepath.Join(s.dir, "tmp", "gone-"+e.Name())
		if err := os.Rename(filepath.Join(s.dir, sub, e.Name()), tmp); err != nil {
			return removed, err
		}
		if err := os.RemoveAll(tmp); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
