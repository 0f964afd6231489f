package logfile

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Reader reads the records of one stream, oldest first, across files and while
// they are rotated under it. It holds the file it is in open, so that nothing
// already begun is lost to a rotation. A Reader is used by one goroutine.
type Reader struct {
	dir, stream string
	file        *os.File
	off         int64 // of the next byte to read from file
	buf         []byte
	begin       int // of what is not yet handed out in buf
}

// maxLine is the longest line a record makes, with room to spare for the mark
// of lost records.
const maxLine = MaxText + 256

// Open returns a reader that starts lines whole lines before the end, or at
// the oldest record when lines is negative. Output that does not exist yet is
// no error: Next says io.EOF until it does. Errors: those of the disk.
func Open(dir, stream string, lines int64) (*Reader, error) {
	r := &Reader{dir: dir, stream: stream}
	if lines >= 0 {
		return r, r.seek(lines)
	}
	_, err := r.oldest()
	return r, err
}

// Next returns the next record; its text is valid until the next call. Lines
// that are no records are passed over. Errors: io.EOF when there is nothing
// more at present, which a later call may find otherwise; else those of the
// disk.
func (r *Reader) Next() (Record, error) {
	for {
		if line, ok := r.line(); ok {
			if rec, ok := Parse(line); ok {
				return rec, nil
			}
			continue
		}
		// Whether this file is the newest has to be asked before its end is
		// looked for: once it is not, nothing is added to it.
		newest, err := r.newest()
		if err != nil {
			return Record{}, err
		}
		n, err := r.fill()
		if err != nil {
			return Record{}, err
		}
		if n > 0 {
			continue
		}
		if newest {
			return Record{}, io.EOF
		}
		moved, err := r.advance()
		if err != nil {
			return Record{}, err
		}
		if !moved {
			return Record{}, io.EOF
		}
	}
}

// Close frees the reader's file.
func (r *Reader) Close() error {
	if r.file == nil {
		return nil
	}
	f := r.file
	r.file = nil
	return f.Close()
}

// Line returns the record in the form of the agent stream, its text copied.
func (r Record) Line(stream string) sdk.LogLine {
	if r.Kind == Dropped {
		if count, why, ok := strings.Cut(string(r.Text), lost); ok {
			if n, err := strconv.ParseInt(count, 10, 64); err == nil && n > 0 {
				return sdk.LogLine{Time: r.Time, Stream: stream, Text: []byte(why), Dropped: n}
			}
		}
	}
	return sdk.LogLine{Time: r.Time, Stream: stream, Text: bytes.Clone(r.Text), Partial: r.Kind == Partial}
}

func (r *Reader) line() ([]byte, bool) {
	i := bytes.IndexByte(r.buf[r.begin:], '\n')
	if i < 0 {
		return nil, false
	}
	line := r.buf[r.begin : r.begin+i]
	r.begin += i + 1
	return line, true
}

func (r *Reader) fill() (int, error) {
	if r.file == nil {
		return 0, nil
	}
	rest := copy(r.buf, r.buf[r.begin:])
	r.buf, r.begin = r.buf[:rest], 0
	if rest > maxLine {
		r.buf, rest = r.buf[:0], 0 // no record is as long as that: damage
	}
	if cap(r.buf) < rest+maxLine {
		r.buf = append(make([]byte, 0, 2*maxLine), r.buf...)
	}
	n, err := r.file.ReadAt(r.buf[rest:cap(r.buf)], r.off)
	r.buf = r.buf[:rest+n]
	r.off += int64(n)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// newest reports whether the reader's file is the one being written. Without
// a file it opens what there is.
func (r *Reader) newest() (bool, error) {
	if r.file == nil {
		if found, err := r.oldest(); err != nil || !found {
			return true, err
		}
	}
	same, err := r.is(0)
	return same, err
}

// is reports whether the file of that age is the one that the reader has open.
func (r *Reader) is(age int) (bool, error) {
	mine, err := r.file.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(Path(r.dir, r.stream, age))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(mine, there), nil
}

// advance moves to the file after the reader's own, or to the oldest when its
// own has been removed meanwhile. It reports false while there is nothing to
// move to: between the two halves of a rotation.
func (r *Reader) advance() (bool, error) {
	for age := 1; ; age++ {
		if _, err := os.Stat(Path(r.dir, r.stream, age)); errors.Is(err, fs.ErrNotExist) {
			return r.oldest()
		} else if err != nil {
			return false, err
		}
		same, err := r.is(age)
		if err != nil {
			return false, err
		}
		if !same {
			continue
		}
		f, err := os.Open(Path(r.dir, r.stream, age-1))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		// If the files aged between the two looks, f is not the next one.
		if same, err := r.is(age); err != nil || !same {
			f.Close()
			return err == nil, err
		}
		r.enter(f, 0)
		return true, nil
	}
}

// oldest moves to the first record there is and reports whether there is one.
func (r *Reader) oldest() (bool, error) {
	last := -1
	for age := 0; ; age++ {
		_, err := os.Stat(Path(r.dir, r.stream, age))
		if err == nil {
			last = age
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if age > 0 { // between the halves of a rotation there is no newest
			break
		}
	}
	if last < 0 {
		return false, nil
	}
	f, err := os.Open(Path(r.dir, r.stream, last))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.enter(f, 0)
	return true, nil
}

// enter goes on in f from offset off.
func (r *Reader) enter(f *os.File, off int64) {
	r.Close()
	r.file, r.off, r.buf, r.begin = f, off, r.buf[:0], 0
}
