package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// units are how many of a dimension's own units one written unit is: cores in
// thousandths, mem and disk in MiB, devices in thousandths, ports one by one.
var units = Amount{1000, 1 << 20, 1 << 20, 1000, 1}

// parseAmount reads "cpus/mem/disk/gpus/ports", as in "1/512": cores, MiB, MiB,
// devices, ports; what is left out is 0. Decimals are exact. bound allows "-",
// and makes it, and what is left out, -1.
func parseAmount(s string, bound bool) (a Amount, err error) {
	parts := strings.Split(s, "/")
	if len(parts) > len(a) {
		return a, fmt.Errorf("%s has more than %d parts", s, len(a))
	}
	for i := range a {
		switch {
		case bound && (i >= len(parts) || parts[i] == "-"):
			a[i] = -1
		case i >= len(parts):
		default:
			if a[i], err = parseExact(parts[i], units[i]); err != nil {
				return a, err
			}
		}
	}
	return a, nil
}

// parseExact reads a decimal number times unit.
func parseExact(s string, unit int64) (int64, error) {
	whole, frac, _ := strings.Cut(s, ".")
	v, err := strconv.ParseInt(whole+frac, 10, 40)
	if err != nil || v < 0 {
		return 0, fmt.Errorf("%q is not an amount", s)
	}
	scale := int64(1)
	for range frac {
		scale *= 10
	}
	if v*unit%scale != 0 {
		return 0, fmt.Errorf("%q is too fine", s)
	}
	return v * unit / scale, nil
}

// String writes a as parseAmount reads it, without trailing zero parts beyond
// mem.
func (a Amount) String() string {
	n := len(a)
	for n > 2 && a[n-1] == 0 {
		n--
	}
	parts := make([]string, n)
	for i := range parts {
		v := strconv.FormatFloat(float64(a[i])/float64(units[i]), 'f', 6, 64)
		parts[i] = strings.TrimSuffix(strings.TrimRight(v, "0"), ".")
	}
	return strings.Join(parts, "/")
}
