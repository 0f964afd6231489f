// Package guard decides who may do what: identity × verb × object → allowed, or
// refused with the reason.
//
// Nobody may do anything that no grant allows. A grant names who, which verbs,
// and the objects as a path: "documents/service/web", or with "**" at the end
// everything below. The package is pure.
package guard

import (
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Grant allows an identity some verbs on some objects.
type Grant struct {
	Who   string   // "admin"; "*" is everybody who is known
	Verbs []string // "*" is all
	// Object is a path. A segment "*" stands for any one, "**" at the end for
	// everything from there on, the object itself included.
	Object string
}

// Guard holds the grants. The zero Guard allows nothing.
type Guard struct{ grants []Grant }

// New returns a guard with these grants.
func New(grants ...Grant) *Guard { return &Guard{grants: slices.Clone(grants)} }

// Standard are the grants of a new cluster: whoever holds the admin token may
// do everything, whoever holds the reader's may look.
func Standard() []Grant {
	return []Grant{
		{Who: "admin", Verbs: []string{"*"}, Object: "**"},
		{Who: "reader", Verbs: []string{"read", "logs"}, Object: "**"},
	}
}

// Allow returns nil when who may do verb on object. Errors: Denied, saying what
// would be needed.
func (g *Guard) Allow(who, verb, object string) error {
	for i := range g.grants {
		if g.grants[i].covers(who, verb, object) {
			return nil
		}
	}
	return sdk.Errorf(sdk.Denied, object, "%s may not %s it", who, verb).
		Because("no grant of %s covers %q on %s", who, verb, object).
		ToFix("use a token of somebody who may, or ask for a grant")
}

func (g *Grant) covers(who, verb, object string) bool {
	return (g.Who == who || g.Who == "*" && who != "") &&
		(slices.Contains(g.Verbs, verb) || slices.Contains(g.Verbs, "*")) &&
		match(g.Object, object)
}

// match compares a pattern with an object, segment by segment: "app" does not
// cover "app2".
func match(pattern, object string) bool {
	for {
		p, morePattern, ok := strings.Cut(pattern, "/")
		if p == "**" && !ok {
			return true
		}
		o, moreObject, okObject := strings.Cut(object, "/")
		if p != o && (p != "*" || o == "") {
			return false
		}
		if !ok && !okObject {
			return true
		}
		if !okObject {
			return morePattern == "**"
		}
		if !ok {
			return false
		}
		pattern, object = morePattern, moreObject
	}
}
