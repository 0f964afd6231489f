package gate

import (
	"context"
	"crypto/tls"
	"io"
	"net"

	"github.com/drupe-os/drupe/sdk"
)

// Needs is all the gate must be handed. Every method may be called from many
// goroutines at once. What is returned belongs to the gate: no other goroutine
// may change it afterwards.
//
// Refusals are *sdk.Fault; their kind decides the HTTP status. Any other error
// is answered as an internal one, its text only in the server's log.
type Needs struct {
	Documents Documents
	Tasks     Tasks
	Sessions  Sessions // nil: there are none
	Cluster   Cluster
	Plugins   Plugins
	Events    Events
	Join      Joiner
	Auth      Authenticator
	Guard     Guard
	Checker   Checker
	// Registry keeps images; nil: there is none.
	Registry Registry
	// Node knows a node by its certificate, for the registry; nil: no client
	// has one.
	Node func(tls.ConnectionState) (sdk.NodeID, error)
	// Ready returns nil when the server can answer, else why not: no leader,
	// the log still being read.
	Ready func() error
	// Metrics appends the server's metrics in Prometheus' text format. May be
	// nil.
	Metrics func(w io.Writer)
}

// Documents keeps what is declared. Each writing method returns only after the
// change is committed, records by as who did it, and honours ctx's deadline: on
// Timeout the change may still happen.
type Documents interface {
	// Apply declares docs in one log entry, all or none. Of each document the
	// gate set Ref, Role, Body (canonical and checked), Source and Digest; all
	// else is the kernel's. A document whose digest and role are as before is
	// not changed (Changed false), but one that is stopped is started. The
	// answers are in the order of docs.
	//
	// Errors: Conflict for ApplyOptions.IfRevision, Invalid for a kind nobody
	// owns or a role tree that does not add up, Unavailable without a leader.
	Apply(ctx context.Context, by string, docs []sdk.Document, o ApplyOptions) ([]sdk.Applied, error)
	// Remove takes a document away; what it runs is stopped by its owner.
	// Errors: NotFound.
	Remove(ctx context.Context, by string, ref sdk.Ref) error
	// Stop marks a document stopped. Stopping it again changes nothing.
	// Errors: NotFound; Unsupported for kinds that run nothing.
	Stop(ctx context.Context, by string, ref sdk.Ref) error
	// Scale rewrites "instances" in the document's body, as an Apply of that
	// body would. Errors: NotFound; Unsupported for kinds without instances.
	Scale(ctx context.Context, by string, ref sdk.Ref, instances int64) (sdk.Applied, error)

	// ListDocuments returns the documents that f lets pass, in any order, and the log
	// index they show.
	ListDocuments(f DocumentFilter) ([]sdk.Document, uint64)
	// Document returns one document. Errors: NotFound.
	Document(ref sdk.Ref) (sdk.Document, error)
	// Why explains why the document's demands are not all placed. Errors:
	// NotFound.
	Why(ctx context.Context, ref sdk.Ref) (sdk.Why, error)
}

// ApplyOptions conditions an Apply.
type ApplyOptions struct {
	// DryRun does everything but commit: the answers say what would change.
	DryRun bool
	// IfRevision, when set, refuses with Conflict if any of the documents has a
	// Revision above it. 0 thus means that none of them may exist.
	IfRevision *uint64
}

// Tasks knows what runs.
type Tasks interface {
	// ListTasks returns the tasks that f lets pass, in any order, and the log
	// index they show.
	ListTasks(f TaskFilter) ([]sdk.TaskView, uint64)
	// Task returns one task. Errors: NotFound.
	Task(id sdk.TaskID) (sdk.TaskView, error)
	// Kill commits that the task shall end. grace 0 is the template's. Killing
	// a task that is ending or over changes nothing. Errors: NotFound.
	Kill(ctx context.Context, by string, id sdk.TaskID, grace sdk.Duration) error
	// Logs asks the task's node for output. The channel is closed after a chunk
	// with EOF or Error, or when ctx is done; the gate cancels ctx when the
	// reader went away, and may stop receiving then. Errors: NotFound,
	// Unavailable when the node cannot be reached.
	Logs(ctx context.Context, r sdk.LogRequest) (<-chan sdk.LogChunk, error)
}

// Sessions reaches into tasks that run.
type Sessions interface {
	// OpenSession opens a session with a task. The request is session.Request in
	// JSON; the connection carries frames of sdk/session, and closing it ends
	// the session. ctx ends only the opening. Errors: NotFound, Conflict for a
	// task that does not run, Unavailable when its node cannot be reached from
	// this server, and the node's own.
	OpenSession(ctx context.Context, id sdk.TaskID, request []byte) (net.Conn, error)
}

// Cluster knows machines and who shares them.
type Cluster interface {
	// ListNodes returns all nodes in any order, and the log index they show.
	ListNodes() ([]sdk.NodeView, uint64)
	// Node finds a node by id or by name, ids first. Errors: NotFound.
	Node(idOrName string) (sdk.NodeView, error)
	// ListRoles returns all roles declared or in use, the root ("") too.
	ListRoles() ([]sdk.RoleView, uint64)
	// Role returns one role. Errors: NotFound.
	Role(path sdk.RolePath) (sdk.RoleView, error)
	// ListOffers returns the offers that are out.
	ListOffers() ([]sdk.Offer, uint64)
	// Summary sums the cluster up.
	Summary() sdk.ClusterView
}

// Plugins manages what is plugged in.
type Plugins interface {
	// ListPlugins returns the installed plugins in any order, and the log index.
	ListPlugins() ([]sdk.PluginView, uint64)
	// Plugin returns one plugin. Errors: NotFound.
	Plugin(name sdk.PluginName) (sdk.PluginView, error)
	// Install checks, compiles and commits a module. Installing the same module
	// again lifts a quarantine. Errors: Invalid with what is wrong with the
	// module, Conflict when a kind it wants belongs to another plugin.
	Install(ctx context.Context, by string, module []byte) (sdk.Plugin, error)
	// Policy tells which policy schedules.
	Policy() sdk.PolicyView
	// UsePolicy makes the named policy the active one between two batches.
	// Errors: NotFound; Invalid for a plugin that is no policy.
	UsePolicy(ctx context.Context, by string, name sdk.PluginName) (sdk.PolicyChange, error)
	// UndoPolicy goes back to the policy before. Errors: Conflict when there is
	// none.
	UndoPolicy(ctx context.Context, by string) (sdk.PolicyChange, error)
}

// Events is the stream of what was committed.
type Events interface {
	// Index returns the newest committed log index.
	Index() uint64
	// Subscribe sends every event after the position, in order, without gap.
	// The zero position means: from the oldest kept. The channel is closed when
	// ctx is done, or when the reader is too slow for the bounded queue: it may
	// then subscribe again after the last event it saw. Errors: Conflict when
	// events after the position are no longer kept.
	Subscribe(ctx context.Context, after sdk.Position) (<-chan sdk.Event, error)
	// Recent returns the kept events after the position, oldest first, at most
	// limit of them: the newest. It does not wait.
	Recent(after sdk.Position, limit int) []sdk.Event
}

// Joiner makes an agent a node of the cluster.
type Joiner interface {
	// Join signs the certificate request (PEM, PKCS #10) if the token is good.
	// Errors: Unauthenticated for the token, Invalid for the request.
	Join(ctx context.Context, csr []byte, token string) (sdk.JoinAnswer, error)
}

// Authenticator knows people by their tokens.
type Authenticator interface {
	// Identify returns who holds the token. It compares in constant time.
	Identify(token string) (who string, ok bool)
}

// Guard decides who may do what.
type Guard interface {
	// Allow returns nil, or a Denied fault that says why. Verbs and objects are
	// those of the route table, see Routes.
	Allow(who, verb, object string) error
}

// Checker knows the schema of documents.
type Checker interface {
	// Check tests a canonical body against the schema of its kind. Errors:
	// Invalid with Field, Why and Fix.
	Check(ctx context.Context, kind, name string, body []byte) error
	// Evaluate turns CUE source text into documents, in a worker with hard
	// limits on CPU, memory and time. Of each document Ref, Role, Body and
	// Source are set. Errors: Invalid with the place, Exhausted or Timeout at a
	// limit.
	Evaluate(ctx context.Context, source []byte) ([]sdk.Document, error)
}
