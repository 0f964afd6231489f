package client

import (
	"context"
	"net/url"

	"github.com/drupe-os/drupe/sdk"
)

// Query narrows a list. Empty fields let everything pass.
type Query struct {
	Ref   sdk.Ref // of the document; Kind or Name alone will do
	Role  sdk.RolePath
	Node  string // id or name; tasks only
	State string // of a task, or "live" or "ended"; tasks only
}

func (q Query) values() url.Values {
	v := url.Values{}
	for _, p := range [5][2]string{{"kind", q.Ref.Kind}, {"name", q.Ref.Name}, {"role", string(q.Role)}, {"node", q.Node}, {"state", q.State}} {
		if p[1] != "" {
			v.Set(p[0], p[1])
		}
	}
	return v
}

func documentPath(ref sdk.Ref) string {
	return "/v1/documents/" + url.PathEscape(ref.Kind) + "/" + url.PathEscape(ref.Name)
}

func taskPath(id sdk.TaskID) string { return "/v1/tasks/" + url.PathEscape(string(id)) }

// get fetches one object.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	var out T
	_, err := c.call(ctx, "GET", path, nil, nil, &out)
	return out, err
}

// list fetches a list with the log index it shows.
func list[T any](ctx context.Context, c *Client, path string, q url.Values) ([]T, uint64, error) {
	var out []T
	index, err := c.call(ctx, "GET", path, q, nil, &out)
	return out, index, err
}

// Apply declares documents, all or none. With dryRun it only says what would
// change.
func (c *Client) Apply(ctx context.Context, r sdk.ApplyRequest, dryRun bool) ([]sdk.Applied, error) {
	q := url.Values{}
	if dryRun {
		q.Set("dry_run", "1")
	}
	var out []sdk.Applied
	_, err := c.call(ctx, "PUT", "/v1/documents", q, r, &out)
	return out, err
}

// Documents lists documents by Ref.Kind, Ref.Name and Role.
func (c *Client) Documents(ctx context.Context, q Query) ([]sdk.Document, uint64, error) {
	return list[sdk.Document](ctx, c, "/v1/documents", q.values())
}

// Document fetches one document.
func (c *Client) Document(ctx context.Context, ref sdk.Ref) (sdk.Document, error) {
	return get[sdk.Document](ctx, c, documentPath(ref))
}

// Remove takes a document away.
func (c *Client) Remove(ctx context.Context, ref sdk.Ref) error {
	_, err := c.call(ctx, "DELETE", documentPath(ref), nil, nil, nil)
	return err
}

// Stop lets a document run nothing until it is applied again.
func (c *Client) Stop(ctx context.Context, ref sdk.Ref) error {
	_, err := c.call(ctx, "POST", documentPath(ref)+"/stop", nil, nil, nil)
	return err
}

// Scale changes a document's number of instances.
func (c *Client) Scale(ctx context.Context, ref sdk.Ref, instances int64) (sdk.Applied, error) {
	var out sdk.Applied
	_, err := c.call(ctx, "POST", documentPath(ref)+"/scale", nil, sdk.ScaleRequest{Instances: instances}, &out)
	return out, err
}

// Why explains why a document's demands are not all placed.
func (c *Client) Why(ctx context.Context, ref sdk.Ref) (sdk.Why, error) {
	return get[sdk.Why](ctx, c, documentPath(ref)+"/why")
}

// Tasks lists tasks.
func (c *Client) Tasks(ctx context.Context, q Query) ([]sdk.TaskView, uint64, error) {
	return list[sdk.TaskView](ctx, c, "/v1/tasks", q.values())
}

// Task fetches one task.
func (c *Client) Task(ctx context.Context, id sdk.TaskID) (sdk.TaskView, error) {
	return get[sdk.TaskView](ctx, c, taskPath(id))
}

// Kill ends a task. grace 0 is its template's.
func (c *Client) Kill(ctx context.Context, id sdk.TaskID, grace sdk.Duration) error {
	_, err := c.call(ctx, "POST", taskPath(id)+"/kill", nil, sdk.KillRequest{Grace: grace}, nil)
	return err
}

// Nodes lists the machines.
func (c *Client) Nodes(ctx context.Context) ([]sdk.NodeView, uint64, error) {
	return list[sdk.NodeView](ctx, c, "/v1/nodes", nil)
}

// Node fetches one machine by id or name.
func (c *Client) Node(ctx context.Context, idOrName string) (sdk.NodeView, error) {
	return get[sdk.NodeView](ctx, c, "/v1/nodes/"+url.PathEscape(idOrName))
}

// Roles lists the roles.
func (c *Client) Roles(ctx context.Context) ([]sdk.RoleView, uint64, error) {
	return list[sdk.RoleView](ctx, c, "/v1/roles", nil)
}

// Role fetches one role; "" is the root.
func (c *Client) Role(ctx context.Context, path sdk.RolePath) (sdk.RoleView, error) {
	return get[sdk.RoleView](ctx, c, "/v1/roles/"+(&url.URL{Path: string(path)}).EscapedPath())
}

// Offers lists what is on offer.
func (c *Client) Offers(ctx context.Context) ([]sdk.Offer, uint64, error) {
	return list[sdk.Offer](ctx, c, "/v1/offers", nil)
}

// Plugins lists what is plugged in.
func (c *Client) Plugins(ctx context.Context) ([]sdk.PluginView, uint64, error) {
	return list[sdk.PluginView](ctx, c, "/v1/plugins", nil)
}

// Plugin fetches one plugin.
func (c *Client) Plugin(ctx context.Context, name sdk.PluginName) (sdk.PluginView, error) {
	return get[sdk.PluginView](ctx, c, "/v1/plugins/"+url.PathEscape(string(name)))
}

// Install installs a plugin's module.
func (c *Client) Install(ctx context.Context, module []byte) (sdk.Plugin, error) {
	var out sdk.Plugin
	_, err := c.call(ctx, "PUT", "/v1/plugins", nil, raw{"application/wasm", module}, &out)
	return out, err
}

// Policy tells which policy schedules.
func (c *Client) Policy(ctx context.Context) (sdk.PolicyView, error) {
	return get[sdk.PolicyView](ctx, c, "/v1/policy")
}

// UsePolicy schedules with another policy.
func (c *Client) UsePolicy(ctx context.Context, name sdk.PluginName) (sdk.PolicyChange, error) {
	var out sdk.PolicyChange
	_, err := c.call(ctx, "POST", "/v1/policy/use", nil, sdk.PolicyUse{Name: name}, &out)
	return out, err
}

// UndoPolicy goes back to the policy before.
func (c *Client) UndoPolicy(ctx context.Context) (sdk.PolicyChange, error) {
	var out sdk.PolicyChange
	_, err := c.call(ctx, "POST", "/v1/policy/undo", nil, nil, &out)
	return out, err
}

// Version tells what the server is.
func (c *Client) Version(ctx context.Context) (sdk.VersionView, error) {
	return get[sdk.VersionView](ctx, c, "/v1/version")
}

// Cluster sums the cluster up.
func (c *Client) Cluster(ctx context.Context) (sdk.ClusterView, error) {
	return get[sdk.ClusterView](ctx, c, "/v1/cluster")
}

// Ready returns nil when the server can answer. It needs no token.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.call(ctx, "GET", "/readyz", nil, nil, nil)
	return err
}

// Join makes an agent a node. csr is a certificate request in PEM. It needs no
// token but the one to join.
func (c *Client) Join(ctx context.Context, csr []byte, token string) (sdk.JoinAnswer, error) {
	var out sdk.JoinAnswer
	_, err := c.call(ctx, "POST", "/v1/join", nil, sdk.JoinRequest{CSR: string(csr), Token: token}, &out)
	return out, err
}

// CollectImages has the cluster's registry drop what nothing needs.
func (c *Client) CollectImages(ctx context.Context) (sdk.Collected, error) {
	var out sdk.Collected
	_, err := c.call(ctx, "POST", "/v1/images/gc", nil, nil, &out)
	return out, err
}
