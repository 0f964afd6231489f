package main

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// report is made of what the machine prints.
type report struct {
	verbose bool
	began   time.Time
	console bytes.Buffer
	suite   string
	tests   []test
	code    map[string]string // of each suite that ended
	done    bool
	kernel  string
}

// test is how one test ended.
type test struct{ suite, name, verdict, took string }

// How tests end, in the words of Go's testing. The machine's console can have
// put something before them.
var verdict = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+s)\)$`)

// line takes in a line that the machine printed.
func (r *report) line(s string) {
	fmt.Fprintf(&r.console, "%7.1f %s\n", time.Since(r.began).Seconds(), s)
	if r.verbose {
		fmt.Println(s)
	}
	if f := verdict.FindStringSubmatch(s); f != nil {
		r.tests = append(r.tests, test{r.suite, f[2], f[1], f[3]})
		if !r.verbose {
			fmt.Printf("%6.0fs %s %-8s %s (%s)\n", time.Since(r.began).Seconds(), f[1], r.suite, f[2], f[3])
		}
		return
	}
	rest, ok := strings.CutPrefix(s, "vm: ")
	if !ok {
		return
	}
	word, rest, _ := strings.Cut(rest, " ")
	switch word {
	case "up":
		r.kernel = rest
	case "begin":
		r.suite = rest
	case "end":
		name, code, _ := strings.Cut(rest, " ")
		if r.code == nil {
			r.code = map[string]string{}
		}
		r.code[name] = code
	case "done":
		r.done = true
	}
	if !r.verbose {
		fmt.Printf("%6.0fs %s\n", time.Since(r.began).Seconds(), s)
	}
}

// print prints the result and tells whether all is well: each suite ran to its
// end, had tests, and none failed.
func (r *report) print(w io.Writer, chosen []suite) bool {
	ok := r.done
	fmt.Fprintf(w, "\n%-10s %6s %6s %7s  %s\n", "suite", "passed", "failed", "skipped", "end")
	for _, s := range chosen {
		n := map[string]int{}
		for _, t := range r.tests {
			if t.suite == s.name {
				n[t.verdict]++
			}
		}
		end, ended := r.code[s.name]
		if !ended {
			end = "did not end"
		}
		fmt.Fprintf(w, "%-10s %6d %6d %7d  %s\n", s.name, n["PASS"], n["FAIL"], n["SKIP"], end)
		ok = ok && end == "0" && n["PASS"] > 0 && n["FAIL"] == 0
	}
	for _, t := range r.tests {
		if t.verdict != "PASS" {
			fmt.Fprintf(w, "%s %s %s\n", t.verdict, t.suite, t.name)
		}
	}
	fmt.Fprintf(w, "%.0f s; %s\n", time.Since(r.began).Seconds(), r.kernel)
	return ok
}
