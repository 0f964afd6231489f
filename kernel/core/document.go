package core

import (
	"cmp"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// applyDocuments declares documents, all or none.
func (s *State) applyDocuments(by string, c *ApplyDocuments) ([]sdk.Document, []bool, *sdk.Fault) {
	for i := range c.Documents {
		if f := s.checkDocument(&c.Documents[i]); f != nil {
			return nil, nil, f
		}
	}
	undo, f := s.reserveNodes(c.Documents)
	if f != nil {
		return nil, nil, f
	}
	if f := s.applyRoles(c.Documents); f != nil {
		undo()
		return nil, nil, f
	}
	s.applyNodes(c.Documents)
	out, changed := make([]sdk.Document, len(c.Documents)), make([]bool, len(c.Documents))
	for i := range c.Documents {
		d, ch := s.applyDocument(by, &c.Documents[i])
		out[i], changed[i] = *d, ch
	}
	return out, changed, nil
}

// checkDocument proves that a document may be declared.
func (s *State) checkDocument(d *Declared) *sdk.Fault {
	subject := d.Ref.String()
	if old := s.documents[d.Ref]; d.IfRevision != nil && old != nil && old.Revision > *d.IfRevision {
		return sdk.Errorf(sdk.Conflict, subject, "changed since revision %d", *d.IfRevision).
			Because("%s changed it at revision %d", old.By, old.Revision).ToFix("read it again and repeat the change")
	}
	if !d.Role.Valid() {
		return sdk.Errorf(sdk.Invalid, subject, "role %q is not a path of names", d.Role).At("role")
	}
	switch d.Ref.Kind {
	case sdk.KindRole, sdk.KindNode:
		return nil
	}
	if !sdk.ValidName(d.Ref.Name) {
		return sdk.Errorf(sdk.Invalid, subject, "%q is not a name", d.Ref.Name).
			ToFix("use 1 to 63 of a-z, 0-9 and inner hyphens")
	}
	owner, ok := s.kinds[d.Ref.Kind]
	if !ok {
		return sdk.Errorf(sdk.Invalid, subject, "no installed plugin owns documents of kind %q", d.Ref.Kind).
			Because("known kinds are %s", strings.Join(s.knownKinds(), ", ")).ToFix("install the plugin that does")
	}
	if p := s.plugins[owner]; !s.mayUse(p, d.Role) {
		return sdk.Errorf(sdk.Denied, subject, "plugin %s was not granted role %q", owner, d.Role)
	}
	return nil
}

func (s *State) knownKinds() []string {
	out := []string{sdk.KindNode, sdk.KindRole}
	for k := range s.kinds {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// applyDocument enters one document that was found good.
func (s *State) applyDocument(by string, c *Declared) (*sdk.Document, bool) {
	d := s.documents[c.Ref]
	if d == nil {
		d = &sdk.Document{Ref: c.Ref, Created: s.now}
		s.documents[c.Ref] = d
	} else if d.Digest == c.Digest && d.Role == c.Role && !d.Stopped {
		return d, false
	}
	if d.Digest != c.Digest || d.Role != c.Role {
		d.Version++
	}
	d.Role, d.Body, d.Source, d.Digest = c.Role, c.Body, c.Source, c.Digest
	d.Stopped = false
	s.touchDocument(by, d)
	s.tellDocument(sdk.EventDocumentApplied, by, d)
	s.inform(c.Ref.Kind, sdk.FrameworkEvent{Applied: copyDocument(d)})
	return d, true
}

func (s *State) touchDocument(by string, d *sdk.Document) {
	d.Revision, d.Changed, d.By = s.index, s.now, by
}

// stopDocument keeps a declaration and has its plugin stop what it runs.
func (s *State) stopDocument(by string, ref sdk.Ref) *sdk.Fault {
	d := s.documents[ref]
	if d == nil {
		return notDeclared(ref)
	}
	if ref.Kind == sdk.KindRole || ref.Kind == sdk.KindNode {
		return sdk.Errorf(sdk.Invalid, ref.String(), "a %s runs nothing that could be stopped", ref.Kind)
	}
	if d.Stopped {
		return nil
	}
	d.Stopped = true
	s.touchDocument(by, d)
	s.tellDocument(sdk.EventDocumentApplied, by, d)
	s.inform(ref.Kind, sdk.FrameworkEvent{Applied: copyDocument(d)})
	return nil
}

// removeDocument takes a declaration back.
func (s *State) removeDocument(by string, ref sdk.Ref) *sdk.Fault {
	d := s.documents[ref]
	if d == nil {
		return notDeclared(ref)
	}
	switch ref.Kind {
	case sdk.KindRole:
		if f := s.removeRole(sdk.RolePath(ref.Name)); f != nil {
			return f
		}
	case sdk.KindNode:
		if n := s.nodeByName[ref.Name]; n != nil {
			if f := s.settle(n, NodeSettings{}); f != nil {
				return f
			}
		}
		delete(s.settings, ref.Name)
	default:
		s.inform(ref.Kind, sdk.FrameworkEvent{Removed: &ref})
	}
	delete(s.documents, ref)
	d.Revision = s.index
	s.tellDocument(sdk.EventDocumentRemoved, by, d)
	return nil
}

func notDeclared(ref sdk.Ref) *sdk.Fault {
	return sdk.Errorf(sdk.NotFound, ref.String(), "is not declared").ToFix("see `drupe ps` for what is")
}

// applyRoles brings role documents into force, parents first. On a fault all
// roles are as they were.
func (s *State) applyRoles(docs []Declared) *sdk.Fault {
	var roles []*sdk.Role
	for i := range docs {
		if r := docs[i].IsRole; r != nil {
			roles = append(roles, r)
		}
	}
	slices.SortStableFunc(roles, func(a, b *sdk.Role) int {
		return cmp.Compare(strings.Count(string(a.Path), "/"), strings.Count(string(b.Path), "/"))
	})
	var undo []sdk.Role
	for _, r := range roles {
		old := sdk.Role{Path: r.Path}
		if have := s.roles[r.Path]; have != nil {
			old = *have
		}
		if err := s.ledger.SetRole(*r); err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				s.ledger.SetRole(undo[i])
			}
			return asFault(err)
		}
		undo = append(undo, old)
	}
	for _, r := range roles {
		set := *r
		set.Declared = true
		s.roles[r.Path] = &set
		s.tell(sdk.Event{Kind: sdk.EventRoleChanged, Role: &set})
		s.changes.Room = true
	}
	return nil
}

// removeRole resets a role to weight 1 without guarantee and limit.
func (s *State) removeRole(path sdk.RolePath) *sdk.Fault {
	old := s.roles[path]
	for p, r := range s.roles {
		if p != path && p.Within(path) && len(r.Guarantee) > 0 && path != "" {
			return sdk.Errorf(sdk.Conflict, "role/"+string(path), "its child %s has a guarantee", p).
				ToFix("remove the child's declaration first")
		}
	}
	if err := s.ledger.SetRole(sdk.Role{Path: path}); err != nil {
		return asFault(err)
	}
	delete(s.roles, path)
	s.tell(sdk.Event{Kind: sdk.EventRoleRemoved, Role: old})
	s.changes.Room = true
	return nil
}

// reserveNodes brings the reservations of node documents into force, which is
// all of them that may be refused. On a fault all are as they were; undo puts
// them back later.
func (s *State) reserveNodes(docs []Declared) (undo func(), fault *sdk.Fault) {
	type change struct {
		n   *node
		old []sdk.Reservation
	}
	var done []change
	undo = func() {
		for _, c := range slices.Backward(done) {
			// It was in force a moment ago: it fits, also where a node has shrunk.
			s.ledger.AdoptReservations(c.n.row, s.reserves(c.old))
			c.n.Reservations = c.old
		}
	}
	for i := range docs {
		n := s.nodeByName[docs[i].Ref.Name]
		if docs[i].IsNode == nil || n == nil {
			continue
		}
		old := n.Reservations
		if f := s.reserve(n, docs[i].IsNode.Reservations); f != nil {
			undo()
			return nil, f
		}
		done = append(done, change{n, old})
	}
	return undo, nil
}

// applyNodes brings the rest of node documents into force.
func (s *State) applyNodes(docs []Declared) {
	for i := range docs {
		c := docs[i].IsNode
		if c == nil {
			continue
		}
		name := docs[i].Ref.Name
		s.settings[name] = *c
		if n := s.nodeByName[name]; n != nil {
			s.adjust(n, c)
			s.tell(sdk.Event{Kind: sdk.EventNodeChanged, Node: s.copyNode(n)})
		}
	}
}

// copyDocument returns a document that later changes do not reach.
func copyDocument(d *sdk.Document) *sdk.Document {
	c := *d
	c.Source = "" // for people; plugins get the body
	return &c
}

func (s *State) tellDocument(kind sdk.EventKind, by string, d *sdk.Document) {
	s.tell(sdk.Event{Kind: kind, By: by, Document: &sdk.DocumentChange{
		Ref: d.Ref, Role: d.Role, Revision: d.Revision, Version: d.Version, Stopped: d.Stopped, Status: d.Status}})
}
