package cli

import (
	"context"
	"os"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

// connect returns a client of the cluster that flags, variables and contexts
// name, in this order.
func (a *app) connect() (*client.Client, error) {
	c, err := a.contextOf()
	if err != nil {
		return nil, err
	}
	token, err := client.ReadToken(c.TokenFile)
	if err != nil {
		return nil, err
	}
	return client.New(c.Address, c.CA, token)
}

func (a *app) contextOf() (client.Context, error) {
	name := a.context
	if name == "" {
		name = a.getenv("DRUPE_CONTEXT")
	}
	addr, ca, token := a.getenv("DRUPE_ADDR"), a.getenv("DRUPE_CA_FILE"), a.getenv("DRUPE_TOKEN_FILE")
	var c client.Context
	if a.context != "" || addr == "" || ca == "" || token == "" {
		var err error
		if c, err = client.LoadContext(client.Folder(a.getenv), name); err != nil {
			return c, err
		}
	}
	if a.context != "" { // the flag wins over the variables
		return c, nil
	}
	if addr != "" {
		c.Address = addr
	}
	if token != "" {
		c.TokenFile = token
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return c, sdk.Errorf(sdk.NotFound, "DRUPE_CA_FILE", "cannot be read").Because("%v", err)
		}
		c.CA = string(pem)
	}
	return c, nil
}

// isTask reports whether a name is a task's: those have a dot, others cannot.
func isTask(name string) bool { return strings.Contains(name, ".") && !strings.Contains(name, "/") }

// ref finds the document that an argument means: KIND/NAME as it stands, a name
// in all kinds. Errors: NotFound; Invalid for a name of several documents.
func (a *app) ref(ctx context.Context, c *client.Client, arg string) (sdk.Ref, error) {
	if ref := sdk.ParseRef(arg); ref.Kind != "" {
		return ref, nil
	}
	docs, _, err := c.Documents(ctx, client.Query{Ref: sdk.Ref{Name: arg}})
	switch {
	case err != nil:
		return sdk.Ref{}, err
	case len(docs) == 1:
		return docs[0].Ref, nil
	case len(docs) == 0:
		return sdk.Ref{}, a.unknownName(ctx, c, arg)
	}
	names := make([]string, len(docs))
	for i, d := range docs {
		names[i] = d.Ref.String()
	}
	return sdk.Ref{}, ambiguous(arg, names)
}

func ambiguous(name string, candidates []string) error {
	return sdk.Errorf(sdk.Invalid, name, "names several things").
		Because("there are %s", strings.Join(candidates, ", ")).ToFix("write it with its kind: %s", candidates[0])
}

// unknownName says which name was perhaps meant.
func (a *app) unknownName(ctx context.Context, c *client.Client, name string) error {
	f := sdk.Errorf(sdk.NotFound, name, "there is nothing of this name").ToFix("see what there is: drupe ps")
	docs, _, err := c.Documents(ctx, client.Query{})
	if err != nil {
		return f
	}
	best, distance := "", 3
	for _, d := range docs {
		if n := editDistance(name, d.Ref.Name); n < distance {
			best, distance = d.Ref.Name, n
		}
	}
	if best != "" {
		f.ToFix("did you mean %s?", best)
	}
	return f
}

// editDistance counts the characters to insert, remove or replace to make b of
// a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
