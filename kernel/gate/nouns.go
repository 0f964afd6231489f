package gate

import (
	"net/http"
	"runtime"

	"github.com/drupe-os/drupe/sdk"
)

func (q *request) livez() (any, error) { return struct{}{}, nil }

func (q *request) readyz() (any, error) { return struct{}{}, q.needs.Ready() }

func (q *request) version() (any, error) {
	return sdk.VersionView{Version: q.opts.Version, API: "v1", Go: runtime.Version(),
		Platform: runtime.GOOS + "/" + runtime.GOARCH}, nil
}

func (q *request) cluster() (any, error) { return q.needs.Cluster.Summary(), nil }

func (q *request) listNodes() (any, error) {
	l, index := q.needs.Cluster.ListNodes()
	sortNodes(l)
	return q.list(orEmpty(l), index)
}

func (q *request) node() (any, error) { return q.needs.Cluster.Node(q.r.PathValue("node")) }

func (q *request) listRoles() (any, error) {
	l, index := q.needs.Cluster.ListRoles()
	sortRoles(l)
	return q.list(orEmpty(l), index)
}

func (q *request) role() (any, error) {
	path := sdk.RolePath(q.r.PathValue("path"))
	if !path.Valid() {
		return nil, malformed(sdk.Errorf(sdk.Invalid, "", "%q is no role path", path).ToFix("write it as in eng/web"))
	}
	return q.needs.Cluster.Role(path)
}

func (q *request) listOffers() (any, error) {
	l, index := q.needs.Cluster.ListOffers()
	sortOffers(l)
	return q.list(orEmpty(l), index)
}

func (q *request) listPlugins() (any, error) {
	l, index := q.needs.Plugins.ListPlugins()
	sortPlugins(l)
	return q.list(orEmpty(l), index)
}

func (q *request) plugin() (any, error) {
	return q.needs.Plugins.Plugin(sdk.PluginName(q.r.PathValue("name")))
}

func (q *request) installPlugin() (any, error) {
	if t := contentType(q.r); t != "application/wasm" {
		return nil, wrongType(t, "application/wasm")
	}
	if len(q.body) == 0 {
		return nil, malformed(sdk.Errorf(sdk.Invalid, "request body", "holds no module"))
	}
	return q.needs.Plugins.Install(q.r.Context(), q.who, q.body)
}

func (q *request) policy() (any, error) { return q.needs.Plugins.Policy(), nil }

func (q *request) usePolicy() (any, error) {
	var body sdk.PolicyUse
	if err := q.json(&body); err != nil {
		return nil, err
	}
	if body.Name == "" {
		return nil, malformed(sdk.Errorf(sdk.Invalid, "policy", "is missing").At("name").ToFix("send {\"name\": \"drf\"}"))
	}
	return q.needs.Plugins.UsePolicy(q.r.Context(), q.who, body.Name)
}

func (q *request) undoPolicy() (any, error) {
	return q.needs.Plugins.UndoPolicy(q.r.Context(), q.who)
}

func (q *request) join() (any, error) {
	var body sdk.JoinRequest
	if err := q.json(&body); err != nil {
		return nil, err
	}
	for _, f := range [2]struct{ name, value string }{{"csr", body.CSR}, {"token", body.Token}} {
		if f.value == "" {
			return nil, malformed(sdk.Errorf(sdk.Invalid, "join", "is missing").At(f.name))
		}
	}
	return q.needs.Join.Join(q.r.Context(), []byte(body.CSR), body.Token)
}

func (q *request) metrics() (any, error) {
	q.w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	q.w.WriteHeader(http.StatusOK)
	q.counters.write(q.w)
	if q.needs.Metrics != nil {
		q.needs.Metrics(q.w)
	}
	return answered{}, nil
}
