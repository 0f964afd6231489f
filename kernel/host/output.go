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

// tailLines is how many last lines are kept for the error of a trap: enough for
// the stack that runtimes print after what they died of.
const tailLines = 100

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
		o.tail = o.tail[:copy(o.tail, o.tail[1:])]
	}
	o.tail = append(o.tail, s)
	o.module.host.config.Log(o.module.manifest.Name, s)
}

// last returns what the plugin died of, by its own account: the line with which
// Go's runtime says so, or else the last one.
func (o *output) last() string {
	for _, line := range o.tail {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return line
		}
	}
	if n := len(o.tail); n > 0 {
		return o.tail[n-1]
	}
	return ""
}
