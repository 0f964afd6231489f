package offer

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/drupe-os/drupe/sdk"
)

// maxPattern bounds a regular expression's text; Go's engine is linear in it.
const maxPattern = 1024

// CheckConstraint proves that a constraint means something. Errors: Invalid,
// naming what is wrong.
func CheckConstraint(c sdk.Constraint) error {
	_, err := compile(c)
	return err
}

// matcher is a constraint ready for use. Those that look only at the node are
// static; the others also look at where the document's tasks already are.
type matcher struct {
	sdk.Constraint
	re *regexp.Regexp
	n  int
}

func compile(c sdk.Constraint) (matcher, error) {
	m := matcher{Constraint: c}
	bad := func(format string, args ...any) (matcher, error) {
		return m, sdk.Errorf(sdk.Invalid, "constraint", "%s %s %q: %s", c.Attribute, c.Operator, c.Value, fmt.Sprintf(format, args...))
	}
	if c.Attribute == "" {
		return bad("names no attribute")
	}
	var err error
	switch c.Operator {
	case sdk.OpIs:
		if c.Value == "" {
			return bad("needs a value")
		}
	case sdk.OpLike, sdk.OpUnlike:
		if len(c.Value) > maxPattern {
			return bad("the pattern is longer than %d bytes", maxPattern)
		}
		if m.re, err = regexp.Compile("^(?:" + c.Value + ")$"); err != nil {
			return bad("%v", err)
		}
	case sdk.OpUnique:
	case sdk.OpCluster:
	case sdk.OpGroupBy, sdk.OpMaxPer:
		if c.Value == "" && c.Operator == sdk.OpGroupBy {
			break
		}
		if m.n, err = strconv.Atoi(c.Value); err != nil || m.n < 0 || m.n == 0 && c.Operator == sdk.OpMaxPer {
			return bad("the value must be a whole number above 0")
		}
	default:
		return bad("no such operator; there are is, like, unlike, unique, cluster, group_by, max_per")
	}
	return m, nil
}

// static reports whether only the node decides.
func (m *matcher) static() bool {
	switch m.Operator {
	case sdk.OpIs, sdk.OpLike, sdk.OpUnlike:
		return true
	case sdk.OpCluster:
		return m.Value != ""
	}
	return false
}

// admits says whether a static constraint holds on a node.
func (m *matcher) admits(n *sdk.Node) bool {
	v, ok := n.Attribute(m.Attribute)
	switch m.Operator {
	case sdk.OpIs, sdk.OpCluster:
		return ok && v == m.Value
	case sdk.OpLike:
		return ok && m.re.MatchString(v)
	case sdk.OpUnlike:
		return !ok || !m.re.MatchString(v)
	}
	return true
}

// words writes the constraint as people would.
func (m *matcher) words() string {
	if m.Value == "" {
		return m.Attribute + " " + string(m.Operator)
	}
	return m.Attribute + " " + string(m.Operator) + " " + m.Value
}
