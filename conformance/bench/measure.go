package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is many durations of one thing.
type sample []time.Duration

func (s sample) sorted() sample {
	out := slices.Clone(s)
	slices.Sort(out)
	return out
}

// at is a percentile, 0 for the least.
func (s sample) at(percent int) time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s.sorted()[(len(s)-1)*percent/100]
}

func (s sample) median() time.Duration { return s.at(50) }

// String is median, least and most.
func (s sample) String() string {
	return fmt.Sprintf("median %s, min %s, max %s of %d", ms(s.median()), ms(s.at(0)), ms(s.at(100)), len(s))
}

// ms writes a duration so that three digits count.
func ms(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", float64(d)/1e3)
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}

func ratio(a, b time.Duration) string {
	if b == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f×", float64(a)/float64(b))
}

// perSecond writes a rate.
func perSecond(n int, d time.Duration) string {
	return thousands(int(float64(n)/d.Seconds())) + "/s"
}

// thousands writes a number with a comma after every three digits.
func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return thousands(n/1000) + fmt.Sprintf(",%03d", n%1000)
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }

// status reads one field of a process's status, in bytes.
func status(pid int, field string) int64 {
	return kilobytes(filepath.Join("/proc", strconv.Itoa(pid), "status"), field)
}

// pss is a process's proportional share of memory, in bytes.
func pss(pid int) int64 {
	return kilobytes(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"), "Pss")
}

func kilobytes(file, field string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, field+":"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// ticks is the length of the kernel's unit of CPU time in /proc, fixed on Linux.
const ticks = time.Second / 100

// cpuOf is the CPU time of a process, with that of its reaped children.
func cpuOf(pid int) time.Duration {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	s := string(b)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	var sum int64
	for _, f := range fields[11:15] { // utime stime cutime cstime
		n, _ := strconv.ParseInt(f, 10, 64)
		sum += n
	}
	return time.Duration(sum) * ticks
}
