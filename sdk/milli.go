package sdk

import "fmt"

// Milli is a decimal number in exact thousandths: 1.15 is 1150. In JSON it is a
// plain number.
type Milli int64

// MarshalJSON writes a plain number.
func (m Milli) MarshalJSON() ([]byte, error) { return []byte(formatMilli(int64(m))), nil }

// UnmarshalJSON reads a plain number, not negative, not finer than a thousandth.
func (m *Milli) UnmarshalJSON(b []byte) error {
	v, err := parseMilli(string(b))
	if err != nil {
		return err
	}
	if v < 0 {
		return fmt.Errorf("%s is negative", b)
	}
	*m = Milli(v)
	return nil
}
