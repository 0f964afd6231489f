package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/drupe-os/drupe/sdk"
)

// Writer turns one stream of a task into records and keeps its files within
// their limits. It never makes the task wait for a disk that takes no more:
// what cannot be written is counted and a mark tells of it when there is room
// again. A Writer is used by one goroutine.
type Writer struct {
	dir, stream string
	limits      sdk.LogLimits
	now         func() sdk.Time

	file file
	open func(path string) (file, int64, error)
	size int64

	line    []byte // begun, its end not yet seen
	out     []byte // records of the present call
	records int    // in out
	dropped int64
	cause   error
}

// file is what a Writer needs of an *os.File.
type file interface {
	io.WriteCloser
	Truncate(size int64) error
}

// NewWriter returns a writer of one stream that goes on after the last whole
// record of its newest file. now is the clock. A full disk or a folder that
// cannot be written is a reason to count records as lost, not an error.
func NewWriter(dir, stream string, limits sdk.LogLimits, now func() sdk.Time) *Writer {
	return &Writer{dir: dir, stream: stream, limits: Limits(limits), now: now, open: openAppend}
}

// Write takes output as the task wrote it. It always takes all of p and
// returns no error.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	now := w.now()
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		room := MaxText - len(w.line)
		switch {
		case i >= 0 && i <= room:
			w.record(now, Full, p[:i])
			p = p[i+1:]
		case len(p) > room:
			w.record(now, Partial, p[:room])
			p = p[room:]
		default:
			w.line = append(w.line, p...)
			p = nil
		}
	}
	w.flush(now)
	return n, nil
}

// Close writes a last line that has no line end and the count of what was
// dropped, and closes the file. Errors: why the last records could not be
// written.
func (w *Writer) Close() error { return w.end(Full) }

// Suspend is Close for a stream that has not ended: a line that is begun is
// written as far as it goes, and its rest comes from the next Writer. Errors:
// those of Close.
func (w *Writer) Suspend() error { return w.end(Partial) }

func (w *Writer) end(last Kind) error {
	now := w.now()
	if len(w.line) > 0 {
		w.record(now, last, nil)
	}
	w.flush(now)
	var cause error
	if w.dropped > 0 {
		cause = fmt.Errorf("%d%s%w", w.dropped, lost, w.cause)
	}
	if w.file == nil {
		return cause
	}
	return errors.Join(cause, w.file.Close())
}

func (w *Writer) record(at sdk.Time, kind Kind, tail []byte) {
	if w.size+int64(len(w.out)) >= w.limits.MaxBytes {
		w.flush(at)
	}
	text := tail
	if len(w.line) > 0 {
		w.line = append(w.line, tail...)
		text = w.line
	}
	w.out = Append(w.out, Record{Time: at, Kind: kind, Text: text})
	w.records++
	w.line = w.line[:0]
}

// flush writes the gathered records in one piece, so that a file always ends
// with a whole one.
func (w *Writer) flush(at sdk.Time) {
	if w.records == 0 && w.dropped == 0 {
		return
	}
	if err := w.ready(); err != nil {
		w.drop(err)
		return
	}
	if w.dropped > 0 {
		mark := Append(nil, Record{Time: at, Kind: Dropped, Text: fmt.Appendf(nil, "%d%s%v", w.dropped, lost, w.cause)})
		if err := w.put(mark); err != nil {
			w.drop(err)
			return
		}
		w.dropped, w.cause = 0, nil
	}
	if err := w.put(w.out); err != nil {
		w.drop(err)
		return
	}
	w.out, w.records = w.out[:0], 0
}

func (w *Writer) drop(err error) {
	w.dropped += int64(w.records)
	w.cause = err
	w.out, w.records = w.out[:0], 0
}

func (w *Writer) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	n, err := w.file.Write(b)
	if err != nil {
		if n > 0 {
			// Half a record must not stay; without room even this can fail, and
			// then a reader skips the broken line.
			err = errors.Join(err, w.file.Truncate(w.size))
		}
		var number syscall.Errno
		if errors.As(err, &number) {
			return number
		}
		return err
	}
	w.size += int64(n)
	return nil
}

// ready makes sure that there is an open file with room for a record.
func (w *Writer) ready() error {
	if w.file != nil && w.size < w.limits.MaxBytes {
		return nil
	}
	if w.file != nil {
		w.file.Close()
		w.file = nil
		w.rotate()
	}
	f, size, err := w.open(Path(w.dir, w.stream, 0))
	if err != nil {
		return err
	}
	w.file, w.size = f, size
	return nil
}

// rotate ages every file by one; the oldest goes. A failed rename loses at
// most old output, and the newest file then simply goes on.
func (w *Writer) rotate() {
	last := int(w.limits.Files) - 1
	if last == 0 {
		os.Remove(Path(w.dir, w.stream, 0))
		return
	}
	for age := last - 1; age >= 0; age-- {
		os.Rename(Path(w.dir, w.stream, age), Path(w.dir, w.stream, age+1))
	}
}

// openAppend opens path for appending and cuts off a record whose writing was
// interrupted.
func openAppend(path string) (file, int64, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_CLOEXEC, 0o640)
	if err != nil {
		return nil, 0, err
	}
	end, err := lastLineEnd(f)
	if err == nil {
		err = f.Truncate(end)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, end, nil
}

// lastLineEnd returns the offset after the last line end of f.
func lastLineEnd(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 4<<10)
	for end := size; end > 0; {
		start := max(0, end-int64(len(buf)))
		part := buf[:end-start]
		if _, err := f.ReadAt(part, start); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}
