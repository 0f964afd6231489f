package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/doc"
)

// defaultReplaceAfter is how long an instance on a lost node is waited for.
const defaultReplaceAfter = 30 * sdk.Duration(sdk.Second)

// spec is a service's document, read and with its defaults filled in.
type spec struct {
	instances    int64
	template     sdk.Template
	constraints  []sdk.Constraint
	role         sdk.RolePath
	priority     int32
	minHealthy   int64 // thousandths of the instances
	maxOver      int64
	backoff      *doc.Backoff
	replaceAfter sdk.Duration
	// digest is of all that an instance is made of. Documents that differ in
	// other things only, such as the number of instances, share it.
	digest string
	// frame is of all of it but what a running instance can be given more or
	// less of. Instances of one frame are resized where they are.
	frame string
}

// read reads a document. Errors: a body that is no service, or that contradicts
// itself.
func read(d *sdk.Document) (*spec, error) {
	var body doc.Service
	if err := json.Unmarshal(d.Body, &body); err != nil {
		return nil, err
	}
	if wrong := doc.Validate(d.Ref.Name, &body); len(wrong) > 0 {
		return nil, fmt.Errorf("%s: %s", strings.Join(wrong[0].Path, "."), wrong[0].Message)
	}
	s := &spec{
		instances:    1,
		template:     body.Template(),
		constraints:  body.Constraints,
		role:         d.Role,
		priority:     body.Priority,
		minHealthy:   1000,
		maxOver:      1000,
		backoff:      body.Backoff,
		replaceAfter: defaultReplaceAfter,
	}
	if s.role == "" {
		s.role = body.Role
	}
	if body.Instances != nil {
		s.instances = max(0, *body.Instances)
	}
	if u := body.Upgrade; u != nil {
		if u.MinHealthy != nil {
			s.minHealthy = min(int64(*u.MinHealthy), 1000)
		}
		if u.MaxOver != nil {
			s.maxOver = int64(*u.MaxOver)
		}
	}
	if u := body.Unreachable; u != nil && u.ReplaceAfter != nil {
		s.replaceAfter = max(0, *u.ReplaceAfter)
	}
	var err error
	if s.digest, err = digestOf(s); err == nil {
		s.frame, err = frameOf(s)
	}
	return s, err
}

// digestOf names what instances are made of. It goes by the meaning, not the
// text: a default written out is the same as one left away. Changing what goes
// in restarts every instance everywhere at the next upgrade; a test holds it
// still.
func digestOf(s *spec) (string, error) {
	shape := sdk.Demand{Role: s.role, Constraints: s.constraints, Template: &s.template}
	b, err := shape.MarshalMsg(nil)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

// frameOf is the digest of the same with cpus, mem and their like left out.
// Instances with cores of their own keep them: those would have to move.
func frameOf(s *spec) (string, error) {
	if c := s.template.CPUSet; c != nil && c.Exclusive {
		return s.digest, nil
	}
	frame := *s
	frame.template.Resources = slices.DeleteFunc(slices.Clone(s.template.Resources), func(q sdk.Quantity) bool {
		return q.Name == sdk.CPUs || q.Name == sdk.Mem
	})
	frame.template.Limits = sdk.Limits{Disk: s.template.Limits.Disk, Hugepages: s.template.Limits.Hugepages, Rlimits: s.template.Limits.Rlimits}
	return digestOf(&frame)
}

// atLeast returns how many instances must stay healthy while a new version
// rolls in: ceil(instances × minHealthy).
func (s *spec) atLeast() int64 { return (s.instances*s.minHealthy + 999) / 1000 }

// atMost returns how many instances there may be while a new version rolls in,
// when so many are healthy: floor(instances × (1 + maxOver)), and one more when
// that would leave no room to move.
func (s *spec) atMost(healthy int64) int64 {
	most := s.instances * (1000 + s.maxOver) / 1000
	if most == s.atLeast() && most <= healthy {
		most++
	}
	return most
}
