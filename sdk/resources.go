package sdk

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

//msgp:tuple Quantity Range

// Names of the resources every node has. An operator may add others; those are
// counted in thousandths, like CPUs.
const (
	CPUs = "cpus" // thousandths of a core
	Mem  = "mem"  // bytes
	Disk = "disk" // bytes
	GPUs = "gpus" // thousandths of a device
)

// Quantity is so much of one scalar resource. The unit of Value belongs to the
// name: bytes for mem and disk, thousandths for all others. Integers, because
// accounts must add up exactly on every replica.
type Quantity struct {
	Name  string
	Value int64
}

// Resources is a set of scalar quantities, sorted by name, each name once. An
// absent name means none in a request or capacity, and no bound in a limit.
//
// In JSON it is an object of plain numbers in people's units: cores, bytes,
// devices: {"cpus":0.5,"mem":268435456}.
type Resources []Quantity

// R builds a set from cores in thousandths and memory in bytes.
func R(milliCPUs, memBytes int64) Resources {
	return Resources{{CPUs, milliCPUs}, {Mem, memBytes}}
}

// Get returns the quantity of name, 0 when absent.
func (r Resources) Get(name string) int64 {
	v, _ := r.Lookup(name)
	return v
}

// Lookup returns the quantity of name and whether r mentions it.
func (r Resources) Lookup(name string) (int64, bool) {
	for _, q := range r {
		if q.Name == name {
			return q.Value, true
		}
	}
	return 0, false
}

// With returns a copy of r in which name has value v.
func (r Resources) With(name string, v int64) Resources {
	i, ok := slices.BinarySearchFunc(r, name, func(q Quantity, n string) int { return strings.Compare(q.Name, n) })
	out := slices.Clone(r)
	if ok {
		out[i].Value = v
		return out
	}
	return slices.Insert(out, i, Quantity{name, v})
}

// Plus returns r + o.
func (r Resources) Plus(o Resources) Resources {
	out := r
	for _, q := range o {
		out = out.With(q.Name, out.Get(q.Name)+q.Value)
	}
	return out
}

// Minus returns r - o. Quantities may become negative.
func (r Resources) Minus(o Resources) Resources {
	out := r
	for _, q := range o {
		out = out.With(q.Name, out.Get(q.Name)-q.Value)
	}
	return out
}

// Normal returns r sorted by name with zero quantities kept. Errors: a name
// twice, an empty name, a negative quantity.
func (r Resources) Normal() (Resources, error) {
	out := slices.Clone(r)
	slices.SortFunc(out, func(a, b Quantity) int { return strings.Compare(a.Name, b.Name) })
	for i, q := range out {
		switch {
		case q.Name == "":
			return nil, fmt.Errorf("a resource without a name")
		case q.Value < 0:
			return nil, fmt.Errorf("%s is negative", q.Name)
		case i > 0 && out[i-1].Name == q.Name:
			return nil, fmt.Errorf("%s is given twice", q.Name)
		}
	}
	return out, nil
}

// String returns "cpus 0.5, mem 256Mi".
func (r Resources) String() string {
	parts := make([]string, len(r))
	for i, q := range r {
		parts[i] = q.Name + " " + FormatQuantity(q.Name, q.Value)
	}
	return strings.Join(parts, ", ")
}

// inBytes reports whether the resource is counted in bytes.
func inBytes(name string) bool { return name == Mem || name == Disk }

// FormatQuantity writes v in people's units: "0.5" cores, "256Mi" bytes.
func FormatQuantity(name string, v int64) string {
	if !inBytes(name) {
		return formatMilli(v)
	}
	return FormatBytes(v)
}

// FormatBytes writes v with the largest binary suffix that keeps it short:
// exact when v divides evenly, else one decimal.
func FormatBytes(v int64) string {
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	for i, unit := range []string{"Ti", "Gi", "Mi", "Ki"} {
		size := int64(1) << (40 - 10*i)
		if v >= size {
			if v%size == 0 {
				return sign + strconv.FormatInt(v/size, 10) + unit
			}
			whole, tenth := v/size, (v%size)*10/size
			return sign + strconv.FormatInt(whole, 10) + "." + strconv.FormatInt(tenth, 10) + unit
		}
	}
	return sign + strconv.FormatInt(v, 10)
}

// formatMilli writes thousandths as a decimal without trailing zeros.
func formatMilli(v int64) string {
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	s := strconv.FormatInt(v/1000, 10)
	if f := v % 1000; f != 0 {
		s += "." + strings.TrimRight(fmt.Sprintf("%03d", f), "0")
	}
	return sign + s
}

// parseMilli reads a JSON number exactly into thousandths.
func parseMilli(s string) (int64, error) {
	if strings.ContainsAny(s, "eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.Abs(f) > 1e15 {
			return 0, fmt.Errorf("%s is not a quantity", s)
		}
		s = strconv.FormatFloat(f, 'f', -1, 64)
	}
	whole, frac, _ := strings.Cut(s, ".")
	if len(frac) > 3 {
		if strings.Trim(frac[3:], "0") != "" {
			return 0, fmt.Errorf("%s is finer than one thousandth", s)
		}
		frac = frac[:3]
	}
	v, err := strconv.ParseInt(whole+frac+"000"[len(frac):], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is not a quantity", s)
	}
	return v, nil
}

// MarshalJSON writes an object of plain numbers.
func (r Resources) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, q := range r {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, q.Name)
		b = append(b, ':')
		if inBytes(q.Name) {
			b = strconv.AppendInt(b, q.Value, 10)
		} else {
			b = append(b, formatMilli(q.Value)...)
		}
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads an object of plain numbers. Errors name the resource.
func (r *Resources) UnmarshalJSON(b []byte) error {
	s := strings.TrimSpace(string(b))
	if s == "null" {
		*r = nil
		return nil
	}
	if len(s) < 2 || s[0] != '{' || s[len(s)-1] != '}' {
		return fmt.Errorf("resources: want an object of numbers")
	}
	var out Resources
	for part := range strings.SplitSeq(s[1:len(s)-1], ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, val, _ := strings.Cut(part, ":")
		name, err := strconv.Unquote(strings.TrimSpace(key))
		if err != nil {
			return fmt.Errorf("resources: %s is not a name", key)
		}
		val = strings.TrimSpace(val)
		var v int64
		if inBytes(name) {
			v, err = strconv.ParseInt(val, 10, 64)
		} else {
			v, err = parseMilli(val)
		}
		if err != nil {
			return fmt.Errorf("resources: %s: %s is not a quantity", name, val)
		}
		out = append(out, Quantity{name, v})
	}
	out, err := out.Normal()
	if err != nil {
		return fmt.Errorf("resources: %v", err)
	}
	*r = out
	return nil
}

// Range is an inclusive range of ports.
type Range struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}
