package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// transcript is what people read: titles, commands, their output. It has colours
// on a terminal only.
type transcript struct {
	w      io.Writer
	colour bool
	n      int // titles so far
}

func newTranscript(f *os.File) *transcript {
	return &transcript{w: f, colour: isTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func isTerminal(f *os.File) bool {
	var size [4]uint16
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	return errno == 0
}

func (t *transcript) paint(code, s string) string {
	if !t.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// title begins a step.
func (t *transcript) title(s string) { fmt.Fprintf(t.w, "\n%s\n", t.paint("1;36", s)) }

// step begins a numbered step.
func (t *transcript) step(s string) {
	t.n++
	t.title(fmt.Sprintf("%d. %s", t.n, s))
}

// command shows what is about to be typed.
func (t *transcript) command(words ...string) {
	fmt.Fprintf(t.w, "%s\n", t.paint("1", "$ "+strings.Join(words, " ")))
}

// note says something in plain words.
func (t *transcript) note(s string) { fmt.Fprintln(t.w, s) }

// fail names the step that failed and what the cluster said last.
func (t *transcript) fail(err error, log string) {
	fmt.Fprintf(t.w, "\n%s %v\n", t.paint("1;31", "FAILED:"), err)
	if log != "" {
		fmt.Fprintf(t.w, "The cluster said last:\n  %s\n", strings.ReplaceAll(log, "\n", "\n  "))
	}
}
