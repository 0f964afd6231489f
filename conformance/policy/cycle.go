package policy

import (
	"fmt"
	"slices"
	"strings"
)

// cycle calls the policy once and says what came of it.
func (p *play) cycle(trace bool) ([]string, error) {
	r := p.cluster.Begin(p.now)
	w := &watch{Index: r.Index()}
	names := r.Demands()
	if err := p.policy.Allocate(r.Batch(), w); err != nil {
		r.Abandon()
		return nil, err
	}
	taken := r.End()
	tasks := map[string]uint32{}
	var lines []string
	for _, t := range taken {
		s := slot{t.Demand, t.Node}
		for range t.Count {
			p.held[s] = plus(p.held[s], t.Amount)
		}
		p.demands[t.Demand].Count -= t.Count
		if !t.Offer {
			tasks[t.Demand] += t.Count
			continue
		}
		lines = append(lines, fmt.Sprintf("%s gets %s on %s", t.Demand, t.Amount, t.Node))
	}
	for d, n := range tasks {
		lines = append(lines, fmt.Sprintf("%s gets %d tasks", d, n))
	}
	if trace {
		var turns []string
		for _, d := range w.turns {
			turns = append(turns, names[d])
		}
		lines = []string{strings.Join(turns, " ")}
	}
	if len(taken) == 0 {
		lines = []string{"nothing"}
	}
	slices.Sort(lines)
	return lines, nil
}

// sorted asks the policy for everybody's turn: each wants one task that needs
// nothing, so that being served changes no share. Nothing of it stays.
func (p *play) sorted() ([]string, error) {
	kept := map[string]Demand{}
	for name, d := range p.demands {
		kept[name] = *d
		probe := *d
		probe.Count, probe.Need, probe.Elastic, probe.Priority = 1, Amount{}, false, 0
		if slices.Contains(p.muted, name) {
			probe.Count = 0
		}
		p.cluster.SetDemand(probe)
	}
	r := p.cluster.Begin(p.now)
	w := &watch{Index: r.Index()}
	names := r.Demands()
	err := p.policy.Allocate(r.Batch(), w)
	r.Abandon()
	for name, d := range kept {
		if slices.Contains(p.muted, name) {
			d.Count = 0
		}
		p.cluster.SetDemand(d)
	}
	if err != nil {
		return nil, err
	}
	var turns []string
	for _, d := range w.turns {
		turns = append(turns, names[d])
	}
	return []string{strings.Join(turns, " ")}, nil
}
