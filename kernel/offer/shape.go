package offer

import (
	"math/bits"
	"slices"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/sdk"
)

// Shape is a demand as placement sees it: compiled once, used for every
// instance.
type Shape struct {
	Key       account.ClientKey
	Demand    string
	Role      account.RoleRow
	Client    *account.Client
	Need      account.Vector
	Ports     []sdk.PortRequest
	Elastic   bool // wants offers of whatever size, Need at least
	Instances int  // of the document, placed and still wanted

	class   *class
	dynamic []matcher
}

// class is the set of nodes that meet some static constraints. Demands with the
// same constraints share one; it is kept up to date node by node.
type class struct {
	static []matcher
	nodes  []uint64 // bitmap over node rows
	count  int
}

func (c *class) has(n account.NodeRow) bool {
	w := int(n >> 6)
	return w < len(c.nodes) && c.nodes[w]>>(n&63)&1 == 1
}

func (c *class) set(n account.NodeRow, in bool) {
	for int(n>>6) >= len(c.nodes) {
		c.nodes = append(c.nodes, 0)
	}
	if in == c.has(n) {
		return
	}
	c.nodes[n>>6] ^= 1 << (n & 63)
	if in {
		c.count++
	} else {
		c.count--
	}
}

// each yields the members in the order of their rows.
func (c *class) each(yield func(account.NodeRow) bool) {
	for w, word := range c.nodes {
		for word != 0 {
			n := account.NodeRow(w<<6 + bits.TrailingZeros64(word))
			if !yield(n) {
				return
			}
			word &= word - 1
		}
	}
}

// admits evaluates all static constraints on a node.
func (c *class) admits(n *sdk.Node) bool {
	for i := range c.static {
		if !c.static[i].admits(n) {
			return false
		}
	}
	return true
}

// WantsPorts reports whether the shape asks for certain host ports.
func (s *Shape) WantsPorts() bool {
	return slices.ContainsFunc(s.Ports, func(p sdk.PortRequest) bool { return p.Host != 0 })
}

// NewShape compiles a demand. Errors: Invalid for a constraint without meaning.
func (b *Book) NewShape(plugin sdk.PluginName, d *sdk.Demand) (*Shape, error) {
	s := &Shape{
		Key:     account.ClientKey{Role: d.Role, Plugin: plugin, Ref: d.Ref},
		Demand:  d.Name,
		Role:    b.ledger.Role(d.Role),
		Elastic: d.Template == nil,
	}
	var static []sdk.Constraint
	for _, c := range d.Constraints {
		m, err := compile(c)
		if err != nil {
			return nil, err
		}
		if m.static() {
			static = append(static, c)
			continue
		}
		s.dynamic = append(s.dynamic, m)
	}
	if d.Template != nil {
		s.Ports = d.Template.Ports
	}
	s.Need = b.ledger.Vector(d.Resources, len(s.Ports))
	s.Client = b.ledger.Client(s.Key)
	s.class = b.class(static)
	return s, nil
}

// class returns the shared class of a list of static constraints.
func (b *Book) class(static []sdk.Constraint) *class {
	key := ""
	for _, c := range static {
		key += c.Attribute + "\x00" + string(c.Operator) + "\x00" + c.Value + "\x00"
	}
	if c := b.classes[key]; c != nil {
		return c
	}
	c := &class{}
	for _, s := range static {
		m, _ := compile(s) // compiled before
		c.static = append(c.static, m)
	}
	for row, n := range b.nodes {
		c.set(account.NodeRow(row), c.admits(n.node))
	}
	b.classes[key] = c
	return c
}
