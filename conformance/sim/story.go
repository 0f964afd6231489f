package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/sdk"
)

// begin installs the plugins and has people and faults go to work.
func (s *Sim) begin() {
	var cmds []core.Command
	for _, p := range append(s.cfg.Plugins, BatchPlugin) {
		cmds = append(cmds, core.Command{Install: &core.InstallPlugin{Plugin: p}})
	}
	cmds = append(cmds, core.Command{UsePolicy: &core.UsePolicy{Name: s.cfg.Policies[0]}})
	for _, r := range []sdk.Role{{Path: "eng", Weight: 2000}, {Path: "eng/web", Weight: 1000},
		{Path: "ops", Weight: 1000, Limit: sdk.Resources{{Name: sdk.CPUs, Value: int64(s.cfg.Nodes) * 300}}}} {
		cmds = append(cmds, core.Command{Apply: &core.ApplyDocuments{Documents: []core.Declared{{
			Ref: sdk.Ref{Kind: sdk.KindRole, Name: string(r.Path)}, IsRole: &r, Body: sdk.RawJSON("{}"), Digest: "sha256:x"}}}})
	}
	s.server.propose("admin", func(results []core.Result) {
		for i, r := range results {
			if r.Fault != nil {
				s.fail("setting up, command %d: %v", i, r.Fault)
			}
		}
	}, cmds...)
	for i := range s.cfg.Documents {
		s.after(s.between(100, s.cfg.Faults), func() { s.declare(i) })
	}
	s.after(s.between(1000, 5000), s.people)
	s.after(s.between(2000, 5000), s.trouble)
}

// body writes a service's document.
func body(instances int64, cpus string, memMi int64, image int, extra, devices string) []byte {
	return []byte(fmt.Sprintf(`{"instances":%d%s,"resources":{"cpus":%s,"mem":%d%s},"run":{"container":{"image":"oci:/images/v%d"}}}`,
		instances, extra, cpus, memMi<<20, devices, image))
}

// declare applies a service, a new one or another version of one.
func (s *Sim) declare(i int) {
	n := int64(1 + s.rand.IntN(8))
	extra := ""
	switch s.rand.IntN(6) {
	case 0:
		extra = `,"ports":{"http":{}}`
	case 1:
		extra = `,"constraints":[{"attribute":"zone","operator":"group_by"}]`
	case 2:
		extra = `,"constraints":[{"attribute":"node","operator":"unique"}]`
	}
	// Some ask for devices, of which there are enough for all: always the same
	// documents, so that what they ask for at most is known.
	devices := ""
	switch {
	case i%7 == 1:
		n, extra, devices = 1+n%2, "", `,"gpus":1`
	case i%7 == 3:
		n, extra, devices = 1+n%2, "", `,"gpus-shared":0.5`
	}
	image := s.rand.IntN(3)
	if was, ok := s.images[i]; ok && s.chance(500) {
		image = was // only the size may change then
	}
	s.images[i] = image
	b := body(n, []string{"0.1", "0.25", "0.5", "1"}[s.rand.IntN(4)], 32<<s.rand.IntN(4), image, extra, devices)
	role := []sdk.RolePath{"", "eng", "eng/web", "ops"}[s.rand.IntN(4)]
	ref := sdk.Ref{Kind: "service", Name: fmt.Sprintf("s%d", i)}
	if i%5 == 4 { // every fifth takes real offers
		ref.Kind, b = "batch", batchBody(n)
	}
	s.apply(ref, role, b, n)
}

func (s *Sim) apply(ref sdk.Ref, role sdk.RolePath, b []byte, n int64) {
	if !s.server.up {
		s.after(sdk.Second, func() { s.apply(ref, role, b, n) })
		return
	}
	sum := sha256.Sum256(b)
	s.server.propose("admin", func(r []core.Result) {
		if len(r) > 0 && r[0].Fault == nil {
			s.auditor.wanted[ref] = n
		} else if len(r) > 0 {
			s.fail("%s: %v", ref, r[0].Fault)
		}
	}, core.Command{Apply: &core.ApplyDocuments{Documents: []core.Declared{{Ref: ref, Role: role, Body: b,
		Digest: sdk.Digest("sha256:" + hex.EncodeToString(sum[:]))}}}})
}

// people change their minds.
func (s *Sim) people() {
	if s.healing {
		return
	}
	s.after(s.between(500, 5000), s.people)
	if !s.server.up {
		return
	}
	i := s.rand.IntN(s.cfg.Documents)
	ref := sdk.Ref{Kind: "service", Name: fmt.Sprintf("s%d", i)}
	if i%5 == 4 {
		ref.Kind = "batch"
	}
	want, declared := s.auditor.wanted[ref]
	switch s.rand.IntN(6) {
	case 0, 1:
		if declared {
			s.declare(i)
		}
	case 2:
		if declared && want > -2 {
			s.server.propose("admin", func(r []core.Result) {
				if len(r) > 0 && r[0].Fault == nil {
					s.auditor.wanted[ref] = -1
				}
			}, core.Command{Stop: &core.StopDocument{Ref: ref}})
		}
	case 3:
		if declared && want > -2 {
			s.server.propose("admin", func(r []core.Result) {
				if len(r) > 0 && r[0].Fault == nil {
					s.auditor.wanted[ref] = -2
				}
			}, core.Command{Remove: &core.RemoveDocument{Ref: ref}})
		}
	case 4:
		p := s.cfg.Policies[s.rand.IntN(len(s.cfg.Policies))]
		s.server.propose("admin", nil, core.Command{UsePolicy: &core.UsePolicy{Name: p}})
	case 5:
		a := s.agents[s.rand.IntN(len(s.agents))]
		if ids := a.sorted(); len(ids) > 0 {
			s.server.propose("admin", nil, core.Command{Kill: &core.KillTask{Task: ids[s.rand.IntN(len(ids))]}})
		}
	}
}

// trouble is what befalls machines, networks and the server.
func (s *Sim) trouble() {
	if s.healing {
		return
	}
	s.after(s.between(500, 4000), s.trouble)
	a := s.agents[s.rand.IntN(len(s.agents))]
	switch s.rand.IntN(11) {
	case 9, 10:
		a.breakDevice()
	case 8:
		a.reboot(s.between(5000, 30_000))
	case 0, 1:
		a.crash(s.between(100, 20_000))
	case 2, 3:
		a.cutOff(s.between(1000, 40_000))
	case 4:
		s.server.crash(s.between(10, 8000))
	case 5:
		if a.up && !a.cut {
			a.wipe()
		}
	case 6: // a rack goes dark
		rack := s.rand.IntN(10)
		for i, b := range s.agents {
			if i%10 == rack && s.chance(300) {
				b.cutOff(s.between(1000, 30_000))
			}
		}
	case 7: // a task dies
		if ids := a.sorted(); len(ids) > 0 {
			a.exits(a.tasks[ids[s.rand.IntN(len(ids))]], 1, 9)
		}
	}
}

// heal ends all trouble: what is down comes back by its own timers.
func (s *Sim) heal() {
	s.healing = true
	s.logf("all is mended")
}
