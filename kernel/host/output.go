package host

import (
	"bytes"
	"strings"

	"github.com/drupe-os/drupe/sdk/guest"
)

// output collects what a plugin writes to its log, standard output and standard
// error, bounded by line and by call.
type output struct {
	module *Module
	part   []byte // a line not ended yet
	tail   []string
	used   int // bytes in this call
}

// tailLines is how many last lines are kept for the error of a trap.
const tailLines = 3

func (o *output) begin() { o.part, o.tail, o.used = o.part[:0], o.tail[:0], 0 }

// end writes out a line that has no line end.
func (o *output) end() {
	if len(o.part) > 0 {
		o.line(string(o.part))
		o.part = o.part[:0]
	}
}

// write takes a piece of a stream.
func (o *output) write(b []byte) {
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		if room := guest.MaxLine - len(o.part); len(line) > room {
			line = line[:room]
		}
		o.part = append(o.part, line...)
		if ended {
			o.line(string(o.part))
			o.part = o.part[:0]
		}
		b = rest
	}
}

// line takes one whole line.
func (o *output) line(s string) {
	s = strings.ToValidUTF8(cut(s, guest.MaxLine), "?")
	if o.used += len(s) + 1; o.used > maxLogged {
		o.module.counters.linesDropped.Add(1)
		return
	}
	if len(o.tail) == tailLines {
		o.tail = append(o.tail[:0], o.tail[1:]...)
	}
	o.tail = append(o.tail, s)
	o.module.host.config.Log(o.module.manifest.Name, s)
}

// last returns the last lines of the call, joined.
func (o *output) last() string { return strings.Join(o.tail, " | ") }
