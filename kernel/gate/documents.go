package gate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/drupe-os/drupe/sdk"
)

func (q *request) listDocuments() (any, error) {
	role, err := q.rolePath("role")
	if err != nil {
		return nil, err
	}
	l, index := q.needs.Documents.ListDocuments(DocumentFilter{Kind: q.param("kind"), Name: q.param("name"), Role: role})
	sortDocuments(l)
	return q.list(orEmpty(l), index)
}

// orEmpty makes an empty list [] rather than null.
func orEmpty[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func (q *request) document() (any, error) { return q.needs.Documents.Document(q.ref()) }

func (q *request) removeDocument() (any, error) {
	return struct{}{}, q.needs.Documents.Remove(q.r.Context(), q.who, q.ref())
}

func (q *request) stopDocument() (any, error) {
	return struct{}{}, q.needs.Documents.Stop(q.r.Context(), q.who, q.ref())
}

func (q *request) scaleDocument() (any, error) {
	body := struct {
		Instances *int64 `json:"instances"`
	}{}
	if err := q.json(&body); err != nil {
		return nil, err
	}
	if body.Instances == nil {
		return nil, malformed(sdk.Errorf(sdk.Invalid, q.ref().String(), "is missing").At("instances").ToFix("send {\"instances\": 3}"))
	}
	if *body.Instances < 0 {
		return nil, sdk.Errorf(sdk.Invalid, q.ref().String(), "%d is negative", *body.Instances).At("instances").ToFix("use 0 or more")
	}
	return q.needs.Documents.Scale(q.r.Context(), q.who, q.ref(), *body.Instances)
}

func (q *request) why() (any, error) { return q.needs.Documents.Why(q.r.Context(), q.ref()) }

// applyDocuments takes documents as JSON or as CUE, checks each against its
// schema and against what the sender may, and applies all or none.
func (q *request) applyDocuments() (any, error) {
	dry, err := q.flag("dry_run", false)
	if err != nil {
		return nil, err
	}
	options := ApplyOptions{DryRun: dry}
	var docs []sdk.Document
	switch t := contentType(q.r); t {
	case "application/cue", "text/cue":
		docs, err = q.needs.Checker.Evaluate(q.r.Context(), q.body)
	case "", "application/json":
		docs, options.IfRevision, err = decodeApply(q.body)
	default:
		return nil, wrongType(t, "application/json or application/cue")
	}
	if err != nil {
		return nil, err
	}
	if s := q.param("if_revision"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return nil, malformed(sdk.Errorf(sdk.Invalid, "", "%q is no log index", s).At("if_revision"))
		}
		options.IfRevision = &v
	}
	if len(docs) == 0 {
		return nil, malformed(sdk.Errorf(sdk.Invalid, "", "names no document").At("documents"))
	}
	if err := q.admitDocuments(docs); err != nil {
		return nil, err
	}
	applied, err := q.needs.Documents.Apply(q.r.Context(), q.who, docs, options)
	return orEmpty(applied), err
}

// decodeApply reads the JSON form of an apply.
func decodeApply(body []byte) ([]sdk.Document, *uint64, error) {
	var in sdk.ApplyRequest
	if err := decode(body, &in); err != nil {
		return nil, nil, err
	}
	docs := make([]sdk.Document, len(in.Documents))
	for i, d := range in.Documents {
		docs[i] = sdk.Document{Ref: sdk.Ref{Kind: d.Kind, Name: d.Name}, Role: d.Role, Body: d.Body, Source: d.Source}
	}
	return docs, in.IfRevision, nil
}

// admitDocuments makes each document canonical and checks it, the cheap tests
// before the dear ones.
func (q *request) admitDocuments(docs []sdk.Document) error {
	seen := make(map[sdk.Ref]bool, len(docs))
	for i := range docs {
		d := &docs[i]
		if err := checkRef(d.Ref); err != nil {
			return malformed(err.At(fmt.Sprintf("documents[%d]", i)))
		}
		if seen[d.Ref] {
			return malformed(sdk.Errorf(sdk.Invalid, d.Ref.String(), "is given twice").ToFix("remove one of the two"))
		}
		seen[d.Ref] = true
		if err := q.admitDocument(d); err != nil {
			return about(err, d.Ref)
		}
	}
	return nil
}

func (q *request) admitDocument(d *sdk.Document) error {
	if err := q.needs.Guard.Allow(q.who, "apply", "documents/"+d.Ref.String()); err != nil {
		return err
	}
	body, err := canonical(d.Body)
	if err != nil {
		return err
	}
	d.Body, d.Digest = body, digestOf(body)
	if err := q.needs.Checker.Check(q.r.Context(), d.Ref.Kind, d.Ref.Name, body); err != nil {
		return err
	}
	if err := settleRole(d); err != nil || d.Role == "" {
		return err
	}
	return q.needs.Guard.Allow(q.who, "use", "roles/"+string(d.Role))
}

// checkRef tests that a ref can name a document.
func checkRef(ref sdk.Ref) *sdk.Fault {
	valid := sdk.ValidName(ref.Name)
	if ref.Kind == sdk.KindRole {
		valid = ref.Name != "" && sdk.RolePath(ref.Name).Valid()
	}
	switch {
	case !sdk.ValidName(ref.Kind):
		return sdk.Errorf(sdk.Invalid, ref.String(), "%q is no kind", ref.Kind).ToFix("use a kind such as service")
	case !valid:
		return sdk.Errorf(sdk.Invalid, ref.String(), "%q cannot be a name", ref.Name).
			ToFix("use 1 to 63 of a-z, 0-9 and inner hyphens")
	}
	return nil
}

// settleRole makes the role beside the body and the one inside agree.
func settleRole(d *sdk.Document) error {
	if d.Ref.Kind == sdk.KindRole || d.Ref.Kind == sdk.KindNode {
		if d.Role != "" {
			return sdk.Errorf(sdk.Invalid, "", "a %s is charged to no role", d.Ref.Kind).At("role").ToFix("remove it")
		}
		return nil
	}
	var in struct {
		Role sdk.RolePath `json:"role"`
	}
	if err := json.Unmarshal(d.Body, &in); err != nil {
		return decodeFault(err, d.Body)
	}
	if d.Role == "" {
		d.Role = in.Role
	}
	if in.Role != "" && d.Role != in.Role {
		return sdk.Errorf(sdk.Invalid, "", "%q beside the body, %q in it", d.Role, in.Role).At("role").ToFix("give it once")
	}
	if !d.Role.Valid() {
		return sdk.Errorf(sdk.Invalid, "", "%q is no role path", d.Role).At("role").ToFix("write it as in eng/web")
	}
	return nil
}

// about names the document in a fault that does not say what it is about.
func about(err error, ref sdk.Ref) error {
	switch e := err.(type) {
	case *sdk.Fault:
		if e.Subject == "" {
			c := *e
			c.Subject = ref.String()
			return &c
		}
	case *withStatus:
		return &withStatus{about(e.Fault, ref).(*sdk.Fault), e.status}
	}
	return err
}

func wrongType(got, want string) error {
	return &withStatus{sdk.Errorf(sdk.Invalid, "request body", "%s is not understood here", got).
		At("Content-Type").ToFix("send %s", want), http.StatusUnsupportedMediaType}
}
