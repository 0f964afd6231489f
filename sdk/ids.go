package sdk

import "strings"

// Distinct things have distinct types, so that a node can never be passed where
// a task is meant.
type (
	// NodeID names a machine for life: minted when it first joins, kept over
	// reboots and address changes.
	NodeID string
	// RolePath is a role's place in the role tree, segments joined by "/", such
	// as "eng/web". The root of the tree is the empty path.
	RolePath string
	// PluginName names an installed plugin, such as "drf".
	PluginName string
	// TaskID names one run of one task, for ever: "hello.4f". Never reused.
	TaskID string
	// OfferID names one offer, for ever.
	OfferID uint64
	// Digest is the content address of a blob: "sha256:" and 64 hex digits.
	Digest string
)

// Ref names a document: kind and name, written "service/hello".
type Ref struct {
	Kind string `json:"kind" msg:"k"`
	Name string `json:"name" msg:"n"`
}

// String returns "kind/name".
func (r Ref) String() string { return r.Kind + "/" + r.Name }

// IsZero reports whether r names nothing.
func (r Ref) IsZero() bool { return r.Kind == "" && r.Name == "" }

// ParseRef reads "kind/name". A name without a kind has an empty Kind, which
// means "of any kind".
func ParseRef(s string) Ref {
	kind, name, ok := strings.Cut(s, "/")
	if !ok {
		return Ref{Name: s}
	}
	return Ref{Kind: kind, Name: name}
}

// Parent returns the role one level up; the root's parent is the root.
func (p RolePath) Parent() RolePath {
	i := strings.LastIndexByte(string(p), '/')
	if i < 0 {
		return ""
	}
	return p[:i]
}

// Within reports whether p is ancestor or lies in ancestor's subtree.
func (p RolePath) Within(ancestor RolePath) bool {
	if ancestor == "" || p == ancestor {
		return true
	}
	return len(p) > len(ancestor) && p[:len(ancestor)] == ancestor && p[len(ancestor)] == '/'
}

// ValidName reports whether s may name a document, a node or one segment of a
// role: 1 to 63 of a-z, 0-9 and inner hyphens (RFC 1123 label), because names
// become host names.
func ValidName(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// Valid reports whether every segment of p is a valid name. The root is valid.
func (p RolePath) Valid() bool {
	if p == "" {
		return true
	}
	for seg := range strings.SplitSeq(string(p), "/") {
		if !ValidName(seg) {
			return false
		}
	}
	return true
}
