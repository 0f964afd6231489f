package core

import (
	"github.com/drupe-os/drupe/sdk"
)

// install makes a plugin known, or replaces it by another version.
func (s *State) install(by string, c *InstallPlugin) (*sdk.Plugin, *sdk.Fault) {
	p := c.Plugin
	m := &p.Manifest
	subject := "plugin/" + string(m.Name)
	if !sdk.ValidName(string(m.Name)) {
		return nil, sdk.Errorf(sdk.Invalid, subject, "%q is not a name", m.Name)
	}
	old := s.plugins[m.Name]
	if old != nil && old.Digest == p.Digest && !old.Quarantined {
		return old, nil
	}
	if old != nil && old.Manifest.Point != m.Point {
		return nil, sdk.Errorf(sdk.Conflict, subject, "is installed as a %s, this one is a %s", old.Manifest.Point, m.Point)
	}
	for _, k := range m.Kinds {
		if k == sdk.KindRole || k == sdk.KindNode {
			return nil, sdk.Errorf(sdk.Denied, subject, "documents of kind %q are the kernel's own", k)
		}
		if owner, ok := s.kinds[k]; ok && owner != m.Name {
			return nil, sdk.Errorf(sdk.Conflict, subject, "documents of kind %q belong to plugin %s", k, owner)
		}
	}
	s.serials.Generation++
	p.Generation, p.Installed, p.By = s.serials.Generation, s.now, by
	p.Quarantined, p.Detail, p.Rejected = false, "", 0
	s.plugins[m.Name] = &p
	for k, owner := range s.kinds {
		if owner == m.Name {
			delete(s.kinds, k)
		}
	}
	for _, k := range m.Kinds {
		s.kinds[k] = m.Name
	}
	if m.Point == sdk.PointFramework && s.frameworks[m.Name] == nil {
		s.frameworks[m.Name] = &framework{name: m.Name, store: map[string][]byte{}, timers: map[string]sdk.Time{}}
	}
	s.changes.Room = true
	c2 := p
	s.tell(sdk.Event{Kind: sdk.EventPluginInstalled, By: by, Plugin: &c2})
	return &c2, nil
}

// reject counts a refused call, and quarantines a plugin that fails too often.
// A quarantined policy gives way to the one before it.
func (s *State) reject(c *RejectPlugin) {
	p := s.plugins[c.Plugin]
	if p == nil || p.Generation != c.Generation {
		return
	}
	p.Rejected++
	p.Detail = c.Message
	if c.Quarantine && !p.Quarantined {
		p.Quarantined = true
		if s.policy == c.Plugin && s.previousPolicy != "" {
			s.usePolicy("kernel", &UsePolicy{Undo: true})
		}
	}
	v := *p
	s.tell(sdk.Event{Kind: sdk.EventPluginRejected, Plugin: &v, Message: c.Reason.String() + ": " + c.Message})
}

// usePolicy puts another policy to work, or the previous one back.
func (s *State) usePolicy(by string, c *UsePolicy) (*sdk.PolicyChange, *sdk.Fault) {
	name := c.Name
	if c.Undo {
		if s.previousPolicy == "" {
			return nil, sdk.Errorf(sdk.Conflict, "policy", "there is no earlier policy to go back to")
		}
		name = s.previousPolicy
	}
	p := s.plugins[name]
	if p == nil {
		return nil, sdk.Errorf(sdk.NotFound, "plugin/"+string(name), "is not installed").ToFix("see `drupe plugin ls`")
	}
	if p.Manifest.Point != sdk.PointPolicy {
		return nil, sdk.Errorf(sdk.Invalid, "plugin/"+string(name), "is a %s, not a policy", p.Manifest.Point)
	}
	if p.Quarantined {
		return nil, sdk.Errorf(sdk.Conflict, "plugin/"+string(name), "is quarantined").Because("%s", p.Detail).
			ToFix("install a mended version first")
	}
	if name != s.policy {
		s.policy, s.previousPolicy = name, s.policy
		s.policySince, s.policyBy = s.now, by
		s.tell(sdk.Event{Kind: sdk.EventPolicyChanged, By: by,
			Policy: &sdk.PolicyChange{Active: s.policy, Previous: s.previousPolicy}})
		s.changes.Room = true
	}
	return &sdk.PolicyChange{Active: s.policy, Previous: s.previousPolicy}, nil
}

// mayUse reports whether a plugin was granted a role.
func (s *State) mayUse(p *sdk.Plugin, role sdk.RolePath) bool {
	if p == nil {
		return false
	}
	for _, r := range p.Manifest.Roles {
		if role.Within(r) {
			return true
		}
	}
	return false
}

// Policy returns the policy at work and its generation; empty when there is
// none, or only one that is quarantined.
func (s *State) Policy() (name sdk.PluginName, generation uint64) {
	if p := s.plugins[s.policy]; p != nil && !p.Quarantined {
		return s.policy, p.Generation
	}
	return "", 0
}
