package logfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
)

// seek places the reader so that it hands out the last n lines first. A line
// in pieces counts as one.
func (r *Reader) seek(n int64) error {
	// Files can age while they are looked through; then the count starts
	// again. Output that rotates faster than that has no end to speak of, and
	// where the last try stood is as good as any place.
	const tries = 8
	for range tries {
		settled, err := r.seekOnce(n)
		if err != nil || settled {
			return err
		}
	}
	return nil
}

func (r *Reader) seekOnce(n int64) (settled bool, err error) {
	var first os.FileInfo
	for age := 0; ; age++ {
		f, err := os.Open(Path(r.dir, r.stream, age))
		if errors.Is(err, fs.ErrNotExist) {
			if age == 0 { // nothing yet, or between the halves of a rotation
				_, err := os.Stat(Path(r.dir, r.stream, 1))
				return errors.Is(err, fs.ErrNotExist), nil
			}
			break
		}
		if err != nil {
			return false, err
		}
		if age == 0 {
			if first, err = f.Stat(); err != nil {
				f.Close()
				return false, err
			}
		}
		off, found, err := lastLines(f, n)
		if err != nil {
			f.Close()
			return false, err
		}
		r.enter(f, off)
		if n -= found; n <= 0 {
			break
		}
	}
	now, err := os.Stat(Path(r.dir, r.stream, 0))
	return err == nil && os.SameFile(first, now), nil
}

// lastLines returns the offset at which the last n lines of f begin, and how
// many there really are from there.
func lastLines(f *os.File, n int64) (off, found int64, err error) {
	size, err := lastLineEnd(f)
	if err != nil || n == 0 {
		return size, 0, err
	}
	for block := int64(64 << 10); ; block *= 4 {
		from := max(0, size-block)
		buf := make([]byte, size-from)
		if _, err := f.ReadAt(buf, from); err != nil && err != io.EOF {
			return 0, 0, err
		}
		starts := lineStarts(buf, from)
		if int64(len(starts)) >= n {
			return starts[int64(len(starts))-n], n, nil
		}
		if from == 0 {
			return 0, int64(len(starts)), nil
		}
	}
}

// lineStarts returns where lines begin in buf, which lies at offset from of its
// file. Unless that is the file's beginning, what comes before the first line
// end known to end a whole line is passed over.
func lineStarts(buf []byte, from int64) []int64 {
	var starts []int64
	begins := from == 0
	for at := 0; at < len(buf); {
		end := bytes.IndexByte(buf[at:], '\n')
		if end < 0 {
			break
		}
		rec, ok := Parse(buf[at : at+end])
		if ok && begins {
			starts = append(starts, from+int64(at))
		}
		if ok {
			begins = rec.Kind != Partial
		}
		at += end + 1
	}
	return starts
}
