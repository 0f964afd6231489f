package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/drupe-os/drupe/sdk"
)

// checkFlags tests the flags of every command.
func (a *app) checkFlags() error {
	if a.output != "table" && a.output != "wide" && a.output != "json" {
		return &exitError{code: ExitUsage, error: sdk.Errorf(sdk.Invalid, "", "-o %s is not known", a.output).
			ToFix("use -o table, -o wide or -o json")}
	}
	return nil
}

// wide reports whether tables shall have the columns that most people do
// without.
func (a *app) wide() bool { return a.output == "wide" }

// json reports whether the result is wanted as JSON.
func (a *app) json() bool { return a.output == "json" }

// writeJSON writes one result.
func (a *app) writeJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// result writes v as JSON, or calls the table form.
func (a *app) result(v any, table func()) error {
	if a.json() {
		return a.writeJSON(v)
	}
	table()
	return nil
}

// progress tells people what goes on.
func (a *app) progress(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintln(a.err, oneLine(fmt.Sprintf(format, args...)))
	}
}

// Colours.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

// paint colours s when w is a terminal that wants it.
func (a *app) paint(color string, w io.Writer, s string) string {
	if color == "" || a.noColor || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb" || !isTerminal(w) {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns how many columns the output has; 0: no bound.
func (a *app) width() int {
	if n, err := strconv.Atoi(a.getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if f, ok := a.out.(*os.File); ok && isTerminal(f) {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return w
		}
	}
	return 0
}

// table is lines of cells in columns.
type table struct {
	rows [][]string
}

// newTable returns a table with its head.
func newTable(head ...string) *table { return &table{rows: [][]string{head}} }

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = strings.TrimRight(oneLineKeepIndent(cells[i]), " ")
	}
	t.rows = append(t.rows, cells)
}

// oneLineKeepIndent cleans a cell but keeps what it is indented by.
func oneLineKeepIndent(s string) string {
	body := strings.TrimLeft(s, " ")
	return s[:len(s)-len(body)] + oneLine(body)
}

// gap is what stands between two columns; a column cut to fewer than readable
// characters says nothing.
const (
	gap      = "  "
	readable = 8
)

// write writes the table. Where it is wider than the output, it is made to fit.
func (a *app) write(t *table) {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	widths = fit(widths, a.width())
	var b strings.Builder
	for _, row := range t.rows {
		line := ""
		for i, cell := range row[:min(len(row), len(widths))] {
			cell = cut(cell, widths[i])
			if color := stateColor(cell); color != "" {
				line += a.paint(color, a.out, cell)
			} else {
				line += cell
			}
			line += strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)) + gap
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	io.WriteString(a.out, b.String())
}

// fit shrinks the widest columns until all fit into width. Where that would
// leave nothing readable, the last columns go: -o json has them all.
func fit(widths []int, width int) []int {
	if width == 0 {
		return widths
	}
	least := func() int {
		sum := len(gap) * (len(widths) - 1)
		for _, w := range widths {
			sum += min(w, readable)
		}
		return sum
	}
	for len(widths) > 1 && least() > width {
		widths = widths[:len(widths)-1]
	}
	total := len(gap) * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for ; total > width; total-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] == 1 {
			break
		}
		widths[widest]--
	}
	return widths
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// stateColor colours the words for how things are.
func stateColor(word string) string {
	switch word {
	case "ready", "done", "running", "healthy", "up", "finished":
		return green
	case "failed", "error", "unhealthy", "gone", "quarantined", "dropped":
		return red
	case "pending", "deploying", "degraded", "staging", "starting", "killing", "unreachable", "waiting":
		return yellow
	}
	return ""
}

// fields writes aligned names and values; empty values are left out.
func (a *app) fields(pairs ...string) {
	wide := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			wide = max(wide, len(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			fmt.Fprintf(a.out, "  %-*s  %s\n", wide, pairs[i], oneLine(pairs[i+1]))
		}
	}
}

// age returns how long ago t was, in one unit.
func (a *app) age(t sdk.Time) string {
	if t == 0 {
		return ""
	}
	s := (a.now().UnixMilli() - int64(t)) / 1000
	switch {
	case s < 1:
		return "0s"
	case s < 120:
		return strconv.FormatInt(s, 10) + "s"
	case s < 2*3600:
		return strconv.FormatInt(s/60, 10) + "m"
	case s < 48*3600:
		return strconv.FormatInt(s/3600, 10) + "h"
	}
	return strconv.FormatInt(s/86400, 10) + "d"
}

// ago is age for a sentence.
func (a *app) ago(t sdk.Time) string {
	if t == 0 {
		return ""
	}
	return a.age(t) + " ago"
}
