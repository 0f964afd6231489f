package gate

import (
	"net/http"
	"strings"
	"time"
)

// Route is one entry of the API: everything about it stands in one line of the
// table, so that the mux, the permission check and what describes the API can
// not disagree.
type Route struct {
	Method  string
	Pattern string // as http.ServeMux reads it
	Summary string
	// Verb and Object are what the guard is asked. Braces in Object are filled
	// from the path: "documents/{kind}/{name}".
	Verb, Object string
	// Open routes need neither token nor permission.
	Open bool
	// Each: the body names several objects, so the handler asks the guard once
	// for every one of them.
	Each bool
	// Stream: the answer may go on for ever.
	Stream bool
	// Acts: it does more than read, though its method is GET.
	Acts bool
	// Query are the parameters it knows. Others are refused.
	Query []string
	// Body is the most bytes its body may have; 0: it takes none.
	Body int64
	// Deadline is longer than Options.Deadline where the work is known to be
	// long.
	Deadline time.Duration

	handle func(q *request) (any, error)
}

// Bounds of request bodies, in bytes.
const (
	MaxBody       = 4 << 20
	MaxModule     = 32 << 20
	maxJoinBody   = 64 << 10
	maxActionBody = 64 << 10
)

// Routes returns the route table. Besides, every document named in an apply is
// checked with verb "apply" on "documents/KIND/NAME", and with verb "use" on
// "roles/PATH" for the role it charges.
func Routes() []Route {
	return []Route{
		{Method: "GET", Pattern: "/livez", Open: true, Summary: "the process runs", handle: (*request).livez},
		{Method: "GET", Pattern: "/readyz", Open: true, Summary: "the server can answer", handle: (*request).readyz},
		{Method: "GET", Pattern: "/metrics", Verb: "read", Object: "metrics", Summary: "metrics in Prometheus' text format", handle: (*request).metrics},
		{Method: "GET", Pattern: "/v1/version", Verb: "read", Object: "cluster", Summary: "what the server is", handle: (*request).version},
		{Method: "GET", Pattern: "/v1/cluster", Verb: "read", Object: "cluster", Summary: "the cluster summed up", handle: (*request).cluster},

		{Method: "GET", Pattern: "/v1/documents", Verb: "read", Object: "documents", Query: []string{"kind", "name", "role"}, Summary: "what is declared", handle: (*request).listDocuments},
		{Method: "PUT", Pattern: "/v1/documents", Verb: "apply", Object: "documents/{kind}/{name}", Each: true, Query: []string{"dry_run", "if_revision"}, Body: MaxBody, Summary: "declare documents, all or none", handle: (*request).applyDocuments},
		{Method: "GET", Pattern: "/v1/documents/{kind}/{name}", Verb: "read", Object: "documents/{kind}/{name}", Summary: "one document", handle: (*request).document},
		{Method: "DELETE", Pattern: "/v1/documents/{kind}/{name}", Verb: "remove", Object: "documents/{kind}/{name}", Summary: "take a document away", handle: (*request).removeDocument},
		{Method: "POST", Pattern: "/v1/documents/{kind}/{name}/scale", Verb: "scale", Object: "documents/{kind}/{name}", Body: maxActionBody, Summary: "change the number of instances", handle: (*request).scaleDocument},
		{Method: "POST", Pattern: "/v1/documents/{kind}/{name}/stop", Verb: "stop", Object: "documents/{kind}/{name}", Summary: "run none of it until it is applied again", handle: (*request).stopDocument},
		{Method: "GET", Pattern: "/v1/documents/{kind}/{name}/why", Verb: "read", Object: "documents/{kind}/{name}", Summary: "why it is not all placed", handle: (*request).why},

		{Method: "GET", Pattern: "/v1/tasks", Verb: "read", Object: "tasks", Query: []string{"ref", "kind", "name", "role", "node", "state"}, Summary: "what runs and ran", handle: (*request).listTasks},
		{Method: "GET", Pattern: "/v1/tasks/{id}", Verb: "read", Object: "tasks/{id}", Summary: "one task", handle: (*request).task},
		{Method: "POST", Pattern: "/v1/tasks/{id}/kill", Verb: "kill", Object: "tasks/{id}", Body: maxActionBody, Summary: "end a task", handle: (*request).killTask},
		{Method: "GET", Pattern: "/v1/tasks/{id}/session", Verb: "session", Object: "tasks/{id}", Query: []string{"request"}, Stream: true, Acts: true, Summary: "a program in a task's container, its output, ports and files, over a WebSocket", handle: (*request).session},
		{Method: "GET", Pattern: "/v1/tasks/{id}/logs", Verb: "logs", Object: "tasks/{id}", Query: []string{"stream", "tail", "follow", "since", "until", "match", "sidecar"}, Stream: true, Summary: "a task's output, one JSON object a line", handle: (*request).logs},

		{Method: "GET", Pattern: "/v1/nodes", Verb: "read", Object: "nodes", Summary: "the machines", handle: (*request).listNodes},
		{Method: "GET", Pattern: "/v1/nodes/{node}", Verb: "read", Object: "nodes/{node}", Summary: "one machine, by id or name", handle: (*request).node},
		{Method: "GET", Pattern: "/v1/roles", Verb: "read", Object: "roles", Summary: "who shares the cluster", handle: (*request).listRoles},
		{Method: "GET", Pattern: "/v1/roles/{path...}", Verb: "read", Object: "roles/{path...}", Summary: "one role; an empty path is the root", handle: (*request).role},
		{Method: "GET", Pattern: "/v1/offers", Verb: "read", Object: "offers", Summary: "what is on offer now", handle: (*request).listOffers},

		{Method: "GET", Pattern: "/v1/plugins", Verb: "read", Object: "plugins", Summary: "what is plugged in", handle: (*request).listPlugins},
		{Method: "GET", Pattern: "/v1/plugins/{name}", Verb: "read", Object: "plugins/{name}", Summary: "one plugin", handle: (*request).plugin},
		{Method: "PUT", Pattern: "/v1/plugins", Verb: "install", Object: "plugins", Body: MaxModule, Deadline: 2 * time.Minute, Summary: "install a module, application/wasm", handle: (*request).installPlugin},
		{Method: "GET", Pattern: "/v1/policy", Verb: "read", Object: "policy", Summary: "which policy schedules", handle: (*request).policy},
		{Method: "POST", Pattern: "/v1/policy/use", Verb: "use", Object: "policy", Body: maxActionBody, Summary: "schedule with another policy", handle: (*request).usePolicy},
		{Method: "POST", Pattern: "/v1/policy/undo", Verb: "use", Object: "policy", Summary: "go back to the policy before", handle: (*request).undoPolicy},

		{Method: "POST", Pattern: "/v1/images/gc", Verb: "collect", Object: "images", Deadline: 5 * time.Minute, Summary: "remove the images that nothing needs", handle: (*request).collectImages},

		{Method: "GET", Pattern: "/v1/events", Verb: "read", Object: "events", Query: []string{"after", "ref", "kind", "follow"}, Stream: true, Summary: "what is committed, as it happens", handle: (*request).events},
		{Method: "POST", Pattern: "/v1/join", Open: true, Body: maxJoinBody, Summary: "become a node", handle: (*request).join},
	}
}

// object returns what the guard is asked about, filled in for this request.
func (rt *Route) object(r *http.Request) string {
	parts := strings.Split(rt.Object, "/")
	for i, p := range parts {
		if name, ok := strings.CutPrefix(p, "{"); ok {
			parts[i] = r.PathValue(strings.TrimRight(name, ".}"))
		}
	}
	return strings.TrimSuffix(strings.Join(parts, "/"), "/")
}
