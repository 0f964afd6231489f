package load

import (
	"fmt"
	"slices"
	"strconv"
	"sync"

	"cuelang.org/go/cue/ast"
	cuejson "cuelang.org/go/encoding/json"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/cue/schema"
	"github.com/drupe-os/drupe/sdk"
)

// Checker checks again and again with one compiled schema. It may be used from
// several goroutines; they take turns. Checking cannot be interrupted and takes
// what memory the document makes it take: a server uses package worker.
type Checker struct {
	mu     sync.Mutex
	schema *schema.Schema
}

// NewChecker compiles the schema.
func NewChecker() *Checker { return &Checker{schema: schema.New()} }

// Check returns what is wrong with the body of a document in JSON, nothing when
// it is fine.
func (c *Checker) Check(kind, name string, body []byte) []diagnose.Diagnostic {
	_, diags := c.Canonical(kind, name, body)
	return diags
}

// Canonical is Check that also returns the document in canonical form.
func (c *Checker) Canonical(kind, name string, body []byte) (Loaded, []diagnose.Diagnostic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ref := sdk.Ref{Kind: kind, Name: name}
	if !slices.Contains(schema.Kinds(), kind) {
		return Loaded{}, []diagnose.Diagnostic{{Code: diagnose.UnknownField, Subject: ref.String(), Message: fmt.Sprintf("unknown kind %q", kind), Allowed: fmt.Sprint(schema.Kinds())}}
	}
	f := &file{name: ref.String(), text: body}
	expr, err := cuejson.Extract(f.name, body)
	if err != nil {
		return Loaded{}, []diagnose.Diagnostic{{Code: diagnose.Syntax, Subject: ref.String(), Message: "not JSON: " + err.Error()}}
	}
	f.tree = &ast.File{Filename: f.name, Decls: []ast.Decl{field(schema.Plural(kind), &ast.StructLit{Elts: []ast.Decl{field(name, expr)}})}}
	u := newUnit(c.schema, []*file{f})
	u.body = body
	docs, diags := u.check()
	if len(diags) > 0 {
		return Loaded{}, diags
	}
	docs[0].Source = ""
	return docs[0], nil
}

// field is the declaration "NAME": VALUE.
func field(name string, value ast.Expr) *ast.Field {
	return &ast.Field{Label: ast.NewString(name), Value: value}
}

// Source is the function of that name with the checker's schema.
func (c *Checker) Source(name, text string) (*Set, []diagnose.Diagnostic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(text) > maxFile {
		return &Set{}, []diagnose.Diagnostic{{Code: diagnose.Unreadable, File: name, Message: "is larger than " + strconv.Itoa(maxFile>>20) + " MiB"}}
	}
	set, diags := load(c.schema, []*file{{name: name, text: []byte(text)}})
	if len(diags) > 0 {
		return &Set{}, diags
	}
	return set, nil
}

// Files is the function of that name with the checker's schema.
func (c *Checker) Files(paths []string) (*Set, []diagnose.Diagnostic) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return read(c.schema, paths, nil)
}
