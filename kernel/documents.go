package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
)

// Apply implements gate.Documents.
func (k *Kernel) Apply(ctx context.Context, by string, docs []sdk.Document, o gate.ApplyOptions) ([]sdk.Applied, error) {
	c := core.ApplyDocuments{Documents: make([]core.Declared, len(docs))}
	for i := range docs {
		d, err := declared(&docs[i])
		if err != nil {
			return nil, err
		}
		d.IfRevision = o.IfRevision
		c.Documents[i] = d
	}
	if o.DryRun {
		return k.dryRun(&c)
	}
	r, err := k.one(ctx, by, core.Command{Apply: &c})
	if err != nil {
		return nil, err
	}
	out := make([]sdk.Applied, len(docs))
	for i, d := range r.Documents {
		out[i] = sdk.Applied{Ref: d.Ref, Revision: d.Revision, Version: d.Version, Changed: r.Changed[i]}
	}
	return out, nil
}

// dryRun says what an Apply would change, without a trace.
func (k *Kernel) dryRun(c *core.ApplyDocuments) ([]sdk.Applied, error) {
	k.mu.RLock()
	b, err := k.state.Snapshot().MarshalMsg(nil)
	k.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	var snap core.Snapshot
	if _, err := snap.UnmarshalMsg(b); err != nil {
		return nil, err
	}
	copied, err := core.Restore(&snap)
	if err != nil {
		return nil, err
	}
	results, err := copied.Apply(copied.Index()+1, &core.Entry{Time: now(), By: "dry run", Commands: []core.Command{{Apply: c}}})
	if err != nil {
		return nil, err
	}
	if f := results[0].Fault; f != nil {
		return nil, f
	}
	var out []sdk.Applied
	for i, d := range results[0].Documents {
		out = append(out, sdk.Applied{Ref: d.Ref, Revision: d.Revision, Version: d.Version, Changed: results[0].Changed[i]})
	}
	return out, nil
}

// declared turns a document into what the core applies: the kernel's own kinds
// are decoded here.
func declared(d *sdk.Document) (core.Declared, error) {
	out := core.Declared{Ref: d.Ref, Role: d.Role, Body: d.Body, Source: d.Source, Digest: d.Digest}
	switch d.Ref.Kind {
	case sdk.KindRole:
		v, err := doc.Decode(sdk.KindRole, d.Body)
		if err != nil {
			return out, err
		}
		body := v.(*doc.Role)
		path := sdk.RolePath(d.Ref.Name)
		if !path.Valid() {
			return out, sdk.Errorf(sdk.Invalid, d.Ref.String(), "%q is not a path of names", path)
		}
		r := sdk.Role{Path: path, Weight: 1000, Guarantee: body.Guarantee, Limit: body.Limit, Declared: true}
		if body.Weight != nil {
			r.Weight = int64(*body.Weight)
		}
		out.IsRole = &r
	case sdk.KindNode:
		v, err := doc.Decode(sdk.KindNode, d.Body)
		if err != nil {
			return out, err
		}
		body := v.(*doc.Node)
		n := core.NodeSettings{Cordoned: body.Cordoned}
		for _, name := range slices.Sorted(maps.Keys(body.Attributes)) {
			n.Attributes = append(n.Attributes, sdk.Attribute{Name: name, Value: body.Attributes[name]})
		}
		for _, role := range slices.Sorted(maps.Keys(body.Reservations)) {
			n.Reservations = append(n.Reservations, sdk.Reservation{Role: sdk.RolePath(role), Resources: body.Reservations[role]})
		}
		out.IsNode = &n
	}
	return out, nil
}

// Remove implements gate.Documents.
func (k *Kernel) Remove(ctx context.Context, by string, ref sdk.Ref) error {
	_, err := k.one(ctx, by, core.Command{Remove: &core.RemoveDocument{Ref: ref}})
	return err
}

// Stop implements gate.Documents.
func (k *Kernel) Stop(ctx context.Context, by string, ref sdk.Ref) error {
	_, err := k.one(ctx, by, core.Command{Stop: &core.StopDocument{Ref: ref}})
	return err
}

// Scale implements gate.Documents.
func (k *Kernel) Scale(ctx context.Context, by string, ref sdk.Ref, instances int64) (sdk.Applied, error) {
	d, err := k.Document(ref)
	if err != nil {
		return sdk.Applied{}, err
	}
	if ref.Kind != "service" {
		return sdk.Applied{}, sdk.Errorf(sdk.Unsupported, ref.String(), "a %s has no instances", ref.Kind)
	}
	if d.Body, err = withInstances(d.Body, instances); err != nil {
		return sdk.Applied{}, err
	}
	sum := sha256.Sum256(d.Body)
	d.Digest = sdk.Digest("sha256:" + hex.EncodeToString(sum[:]))
	applied, err := k.Apply(ctx, by, []sdk.Document{d}, gate.ApplyOptions{IfRevision: &d.Revision})
	if err != nil {
		return sdk.Applied{}, err
	}
	return applied[0], nil
}

// withInstances sets one field of a canonical body; it stays canonical, since
// encoding/json sorts keys and every value keeps its text.
func withInstances(body []byte, n int64) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, sdk.Errorf(sdk.Corrupt, "document", "%v", err)
	}
	count, _ := json.Marshal(n)
	fields["instances"] = count
	return json.Marshal(fields)
}

// ListDocuments implements gate.Documents.
func (k *Kernel) ListDocuments(f gate.DocumentFilter) ([]sdk.Document, uint64) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var out []sdk.Document
	for d := range k.state.Documents {
		if f.Match(&d) {
			out = append(out, d)
		}
	}
	return out, k.state.Index()
}

// Document implements gate.Documents.
func (k *Kernel) Document(ref sdk.Ref) (sdk.Document, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.state.Document(ref)
}

// Why implements gate.Documents.
func (k *Kernel) Why(ctx context.Context, ref sdk.Ref) (sdk.Why, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	w, err := k.state.Why(ref)
	if err != nil {
		return sdk.Why{}, err
	}
	return *w, nil
}
