package doc

import (
	"fmt"
	"strconv"
	"strings"
)

// Fraction is a decimal number in exact thousandths: 1.15 is 1150.
type Fraction int64

// MarshalJSON writes a plain number.
func (f Fraction) MarshalJSON() ([]byte, error) {
	s := strconv.FormatInt(int64(f)/1000, 10)
	if r := int64(f) % 1000; r != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%03d", r), "0")
	}
	return []byte(s), nil
}

// UnmarshalJSON reads a plain number, not negative, not finer than a thousandth.
func (f *Fraction) UnmarshalJSON(b []byte) error {
	whole, frac, _ := strings.Cut(string(b), ".")
	if len(frac) > 3 {
		return fmt.Errorf("%s is finer than one thousandth", b)
	}
	v, err := strconv.ParseUint(whole+frac+"000"[len(frac):], 10, 53)
	if err != nil {
		return fmt.Errorf("%s is not a number like 1.15", b)
	}
	*f = Fraction(v)
	return nil
}
