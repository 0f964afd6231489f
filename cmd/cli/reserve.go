package cli

import (
	"fmt"
	"math/big"
	"strings"
)

// Reserve is what of a machine is kept back for the system itself. 0: the
// usual, negative: nothing.
type Reserve struct {
	CPUs      int64 // thousandths
	Mem, Disk int64 // bytes
}

// String returns "": the flag has no value of its own.
func (r *Reserve) String() string { return "" }

// Type names the form of the value in help.
func (r *Reserve) Type() string { return "reserve" }

// Set reads "cpus=0.5,mem=512Mi,disk=1Gi", or a part of it.
func (r *Reserve) Set(s string) error {
	for _, part := range strings.Split(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		into := map[string]*int64{"cpus": &r.CPUs, "mem": &r.Mem, "disk": &r.Disk}[name]
		if into == nil {
			return fmt.Errorf("%q is not cpus, mem or disk: write it as in cpus=0.5,mem=512Mi,disk=1Gi", name)
		}
		unit := int64(1)
		if name == "cpus" {
			unit = 1000
		}
		n, err := quantity(value, unit)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if n == 0 {
			n = -1 // none, where 0 would mean the usual
		}
		*into = n
	}
	return nil
}

// quantity reads a number with a suffix such as Mi, in parts of unit.
func quantity(s string, unit int64) (int64, error) {
	n := s
	factor := big.NewRat(unit, 1)
	for i, suffix := range []string{"Ki", "Mi", "Gi", "Ti"} {
		if rest, ok := strings.CutSuffix(s, suffix); ok && unit == 1 {
			n = rest
			factor.SetInt64(1 << (10 * (i + 1)))
		}
	}
	v, ok := new(big.Rat).SetString(n)
	if !ok || strings.ContainsAny(n, "/eExX_") || v.Sign() < 0 {
		return 0, fmt.Errorf("%q is no quantity", s)
	}
	v.Mul(v, factor)
	if !v.IsInt() || !v.Num().IsInt64() {
		return 0, fmt.Errorf("%q is too fine, or too much", s)
	}
	return v.Num().Int64(), nil
}
