package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
	"github.com/drupe-os/drupe/sdk/framework"
)

// defaultDeadline is how late a slot may begin.
const defaultDeadline = 15 * sdk.Duration(sdk.Minute)

// spec is a job's document, read and with its defaults filled in.
type spec struct {
	template    sdk.Template
	constraints []sdk.Constraint
	role        sdk.RolePath
	priority    int32
	retries     int
	backoff     *doc.Backoff
	// plan is when the job runs; nil: once for each version.
	plan     *cron
	line     string // names plan: cron line and zone
	alone    bool   // a slot is missed while another is under way
	deadline sdk.Duration
}

// read reads a document. Errors: a body that is no job, that contradicts itself,
// or whose schedule never comes.
func read(d *sdk.Document) (*spec, error) {
	var body doc.Job
	if err := json.Unmarshal(d.Body, &body); err != nil {
		return nil, err
	}
	if wrong := doc.Validate(d.Ref.Name, &body); len(wrong) > 0 {
		return nil, fmt.Errorf("%s: %s", strings.Join(wrong[0].Path, "."), wrong[0].Message)
	}
	s := &spec{
		template:    body.Template(),
		constraints: body.Constraints,
		role:        d.Role,
		priority:    body.Priority,
		deadline:    defaultDeadline,
	}
	if s.role == "" {
		s.role = body.Role
	}
	if body.Restart != nil {
		s.retries, s.backoff = int(body.Restart.Retries), body.Restart.Backoff
	}
	if b := body.Schedule; b != nil {
		plan, err := parseCron(b.Cron, b.Timezone)
		if err != nil {
			return nil, fmt.Errorf("schedule: %w", err)
		}
		s.plan, s.line, s.alone = plan, strings.TrimSpace(b.Cron+" "+b.Timezone), b.Overlap == "forbid"
		if b.Deadline > 0 {
			s.deadline = b.Deadline
		}
	}
	return s, nil
}

// memo keeps what was read of one body.
type memo struct {
	digest sdk.Digest
	spec   *spec
	err    error
}

// specOf reads the document, once per change.
func specOf(s *framework.Subject) (*spec, error) {
	m, ok := s.Memo.(*memo)
	if !ok || m.digest != s.Doc.Digest || m.digest == "" {
		m = &memo{digest: s.Doc.Digest}
		m.spec, m.err = read(s.Doc)
		s.Memo = m
	}
	return m.spec, m.err
}
