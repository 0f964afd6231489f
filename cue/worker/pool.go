package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"github.com/drupe-os/drupe/cue/diagnose"
	"github.com/drupe-os/drupe/sdk"
)

// Config says how workers are run. Zero fields have the values given here.
type Config struct {
	// Workers is how many may run at once: 1.
	Workers int
	// CPU is the processor time one request may take: 2s.
	CPU time.Duration
	// Wall is the time one request may take on the clock: 5s.
	Wall time.Duration
	// Memory is what a worker may hold, in bytes: 256 MiB.
	Memory int64
	// Documents is after how many requests a worker is replaced, because the
	// CUE library never forgets a field's name: 2000.
	Documents int
	// Growth is after how many bytes more than at its start it is replaced: 64 MiB.
	Growth int64
	// Cgroup, when not empty, is a folder in a cgroup file system with the memory
	// controller in which workers get their own group, with Memory as its limit.
	Cgroup string
	// Program is what is run, with Memory as one more argument: this program
	// itself with Argument.
	Program []string
}

func (c Config) filled() Config {
	if c.Workers <= 0 {
		c.Workers = 1
	}
	if c.CPU <= 0 {
		c.CPU = 2 * time.Second
	}
	if c.Wall <= 0 {
		c.Wall = 5 * time.Second
	}
	if c.Memory <= 0 {
		c.Memory = 256 << 20
	}
	if c.Documents <= 0 {
		c.Documents = 2000
	}
	if c.Growth <= 0 {
		c.Growth = 64 << 20
	}
	if len(c.Program) == 0 {
		c.Program = []string{"/proc/self/exe", Argument}
	}
	return c
}

// Pool hands requests to workers. Its methods may be called from several
// goroutines. A worker is started when it is first needed.
type Pool struct {
	config Config
	slots  chan *process // one token per allowed worker; nil: not started
	closed chan struct{}
	once   sync.Once
}

// New returns a pool. Close ends its workers.
func New(c Config) *Pool {
	p := &Pool{config: c.filled(), closed: make(chan struct{})}
	p.slots = make(chan *process, p.config.Workers)
	for range p.config.Workers {
		p.slots <- nil
	}
	return p
}

// Close ends all workers, waiting for requests under way, each of which is
// bounded.
func (p *Pool) Close() {
	p.once.Do(func() {
		close(p.closed)
		for range p.config.Workers {
			if w := <-p.slots; w != nil {
				w.end()
			}
		}
	})
}

// Check tests the body of a document in JSON against the schema of its kind.
// Errors: Invalid with the first mistake, Exhausted at the limit of CPU or
// memory, Timeout at that of the clock or when ctx ends, Unavailable when no
// worker can be run.
func (p *Pool) Check(ctx context.Context, kind, name string, body []byte) error {
	a, err := p.do(ctx, request{Kind: kind, Name: name, Text: string(body)})
	if err != nil {
		return err
	}
	return failure(a.Diagnostics)
}

// Canonical is Check that also returns the document in canonical form.
func (p *Pool) Canonical(ctx context.Context, kind, name string, body []byte) (sdk.Document, error) {
	a, err := p.do(ctx, request{Kind: kind, Name: name, Text: string(body)})
	if err != nil {
		return sdk.Document{}, err
	}
	if err := failure(a.Diagnostics); err != nil {
		return sdk.Document{}, err
	}
	return document(a.Documents[0]), nil
}

// Evaluate turns CUE text into documents: Ref, Role, Body, Source and Digest
// are set. Errors: those of Check.
func (p *Pool) Evaluate(ctx context.Context, source []byte) ([]sdk.Document, error) {
	docs, diags, err := p.Diagnose(ctx, "source.cue", source)
	if err != nil {
		return nil, err
	}
	return docs, failure(diags)
}

// Diagnose is Evaluate that returns every mistake with its place. name stands
// for the file in them.
func (p *Pool) Diagnose(ctx context.Context, name string, source []byte) ([]sdk.Document, []diagnose.Diagnostic, error) {
	a, err := p.do(ctx, request{Name: name, Text: string(source)})
	if err != nil {
		return nil, nil, err
	}
	docs := make([]sdk.Document, len(a.Documents))
	for i, d := range a.Documents {
		docs[i] = document(d)
	}
	return docs, a.Diagnostics, nil
}

// failure is the fault of diagnostics as an error, nil when there are none.
func failure(diags []diagnose.Diagnostic) error {
	if f := diagnose.Fault(diags); f != nil {
		return f
	}
	return nil
}

// do gives the request to a worker that is free.
func (p *Pool) do(ctx context.Context, q request) (*answer, error) {
	var w *process
	select {
	case w = <-p.slots:
	case <-p.closed:
		return nil, closedFault()
	case <-ctx.Done():
		return nil, sdk.Errorf(sdk.Timeout, q.subject(), "not checked in time").Because("all workers are busy").ToFix("try again")
	}
	select {
	case <-p.closed:
		p.slots <- w
		return nil, closedFault()
	default:
	}
	if w == nil {
		var err error
		if w, err = start(p.config); err != nil {
			p.slots <- nil
			return nil, err
		}
	}
	a, err := w.do(ctx, q)
	if err != nil || w.worn(a) {
		w.end()
		w = nil
	}
	p.slots <- w
	return a, err
}

func closedFault() error {
	return sdk.Errorf(sdk.Unavailable, "checking", "the server is shutting down").ToFix("try again")
}

// subject names what a request is about.
func (q request) subject() string {
	if q.Kind == "" {
		return q.Name
	}
	return q.Kind + "/" + q.Name
}

func digest(body []byte) sdk.Digest {
	sum := sha256.Sum256(body)
	return sdk.Digest("sha256:" + hex.EncodeToString(sum[:]))
}
