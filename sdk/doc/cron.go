package doc

import (
	"fmt"
	"strconv"
	"strings"
)

// cronField is one of the five fields of a cron line.
type cronField struct {
	name     string
	min, max int
	names    []string // names[i] stands for min+i
}

var cronFields = [5]cronField{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of the month", 1, 31, nil},
	{"month", 1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
	{"day of the week", 0, 7, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
}

// CheckCron reports what is wrong with a cron line of five fields. A field is a
// list, by commas, of "*", a value or a range "a-b", each with "/step" if
// wanted. Months and days of the week may be named; Sunday is 0 or 7.
func CheckCron(line string) error {
	parts := strings.Fields(line)
	if len(parts) != len(cronFields) {
		return fmt.Errorf("%q is not five fields", line)
	}
	for i, f := range cronFields {
		for item := range strings.SplitSeq(parts[i], ",") {
			if err := f.check(item); err != nil {
				return fmt.Errorf("the %s %q %w", f.name, parts[i], err)
			}
		}
	}
	return nil
}

func (f cronField) check(item string) error {
	span, step, stepped := strings.Cut(item, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 || n > f.max {
			return fmt.Errorf("has a step %q that is not from 1 to %d", step, f.max)
		}
	}
	if span == "*" {
		return nil
	}
	first, last, ranged := strings.Cut(span, "-")
	a, err := f.value(first)
	if err != nil || !ranged {
		return err
	}
	b, err := f.value(last)
	if err == nil && b < a {
		err = fmt.Errorf("has a range %q that runs backwards", span)
	}
	return err
}

func (f cronField) value(s string) (int, error) {
	for i, n := range f.names {
		if strings.EqualFold(s, n) {
			return f.min + i, nil
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < f.min || n > f.max {
		return 0, fmt.Errorf("has %q, which is not from %d to %d", s, f.min, f.max)
	}
	return n, nil
}
