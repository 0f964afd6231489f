// Package logfile is how a task's output lies on its node's disk: the keeper
// writes it, the agent reads it, and a person can read it with less.
//
// Each stream has its own files in the task's log folder: stdout.log is the
// newest, stdout.log.1 the one before, and so on. A file holds records, one to
// a line:
//
//	<unix milliseconds> <kind> <text>\n
//
// The time is when the text was read from the task. The kind is F for a whole
// line (or the last piece of one), P for a piece of a line that goes on in the
// next record, and D for a mark left where records were lost; the text then
// says how many and why. Text is the task's own bytes without the line end; it
// may hold any byte but the line end.
package logfile

import (
	"bytes"
	"path/filepath"
	"strconv"

	"github.com/drupe-os/drupe/sdk"
)

// The streams of a task.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// Bounds, and what LogLimits mean when they say nothing.
const (
	MaxText      = 16 << 10 // bytes of text in one record; longer lines are split
	DefaultBytes = 10 << 20 // of one file
	DefaultFiles = 3        // kept, the newest included
	minBytes     = 4 << 10  // no file is rotated before it holds this much
)

// Kind says what a record is.
type Kind byte

// The kinds of record.
const (
	Full    Kind = 'F'
	Partial Kind = 'P'
	Dropped Kind = 'D'
)

// lost stands between the count and the cause in a Dropped record.
const lost = " records lost: "

// Record is one line of a log file.
type Record struct {
	Time sdk.Time
	Kind Kind
	// Text is valid until the next record is read.
	Text []byte
}

// Path returns the file of a stream in a task's log folder; age 0 is the
// newest.
func Path(dir, stream string, age int) string {
	p := filepath.Join(dir, stream+".log")
	if age > 0 {
		p += "." + strconv.Itoa(age)
	}
	return p
}

// Limits returns l with its defaults filled in.
func Limits(l sdk.LogLimits) sdk.LogLimits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultBytes
	}
	if l.Files <= 0 {
		l.Files = DefaultFiles
	}
	l.MaxBytes = max(l.MaxBytes, minBytes)
	return l
}

// Append appends the record to dst as it lies in a file.
func Append(dst []byte, r Record) []byte {
	dst = strconv.AppendInt(dst, int64(r.Time), 10)
	dst = append(dst, ' ', byte(r.Kind), ' ')
	dst = append(dst, r.Text...)
	return append(dst, '\n')
}

// Parse reads one line of a log file, with or without its line end. The text
// points into line. It reports whether line is a record.
func Parse(line []byte) (Record, bool) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	at, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(rest) < 2 || rest[1] != ' ' {
		return Record{}, false
	}
	ms, err := strconv.ParseInt(string(at), 10, 64)
	if err != nil {
		return Record{}, false
	}
	switch k := Kind(rest[0]); k {
	case Full, Partial, Dropped:
		return Record{Time: sdk.Time(ms), Kind: k, Text: rest[2:]}, true
	}
	return Record{}, false
}
