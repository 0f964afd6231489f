package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
	api "github.com/drupe-os/drupe/sdk/policy"
)

// Play runs one case and returns it with what really happened in place of what
// was expected, so that a case passes when it comes back unchanged. Errors: a
// step that cannot be understood, or a refused call, with the line's number.
//
// A case has lines of three sorts: "# a comment", "> a step", and what the step
// is expected to bring. Amounts are cpus/mem/disk/gpus/ports in cores, MiB, MiB,
// devices and ports. The steps:
//
//	role R [weight=W] [guarantee=A] [limit=A]   "-" in a limit: no bound
//	node N A [reserved=R:A]... [off]            add or change a node
//	remove N
//	framework F R [min=A] [count=N]             F wants real offers for R
//	want F R N A [priority=P]                   F wants N tasks of A
//	drop F                                      withdraw; what it holds stays
//	suppress F, resume F                        no offers, and again
//	take F R N A                                F holds A on N already
//	free F N [A]                                F gives back A, or all
//	decline F N DURATION                        F declines all it was offered on N
//	revive F                                    F forgets what it declined
//	advance DURATION
//	cycle                                       one call of the policy; prints what came of it
//	trace                                       the same; prints whose turn it was, one by one
//	order                                       prints all takers in the order in which they are next
//
// F may be written F@R where one framework acts for several roles.
func Play(text string, cluster Cluster, a Allocator) (string, error) {
	p := &play{cluster: cluster, policy: a, now: 1_000_000, demands: map[string]*Demand{}, held: map[slot]Amount{}}
	var out strings.Builder
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" || line[0] == '#' || strings.HasPrefix(line, "> ") {
			out.WriteString(line + "\n")
		}
		if !strings.HasPrefix(line, "> ") {
			continue
		}
		lines, err := p.step(strings.Fields(line[2:]))
		if err != nil {
			return "", fmt.Errorf("line %d: %s: %w", i+1, line, err)
		}
		for _, l := range lines {
			out.WriteString(l + "\n")
		}
	}
	return out.String(), nil
}

// play is a case being played.
type play struct {
	cluster Cluster
	policy  Allocator
	now     sdk.Time
	demands map[string]*Demand
	muted   []string
	held    map[slot]Amount // by offers and tasks of this case
}

// slot is what a framework holds on one node.
type slot struct{ demand, node string }

// words needed by each step, itself included.
var words = map[string]int{"role": 2, "node": 3, "remove": 2, "framework": 3, "want": 5, "drop": 2, "suppress": 2,
	"resume": 2, "take": 5, "free": 3, "decline": 4, "revive": 2, "advance": 2, "cycle": 1, "trace": 1, "order": 1}

func (p *play) step(w []string) ([]string, error) {
	if len(w) == 0 || words[w[0]] == 0 {
		return nil, fmt.Errorf("no such step")
	}
	var args []string
	named := map[string]string{}
	reserved := map[sdk.RolePath]Amount{}
	for _, s := range w[1:] {
		key, value, ok := strings.Cut(s, "=")
		switch {
		case !ok:
			args = append(args, s)
		case key == "reserved":
			role, text, _ := strings.Cut(value, ":")
			a, err := parseAmount(text, false)
			if err != nil {
				return nil, err
			}
			reserved[sdk.RolePath(role)] = a
		default:
			named[key] = value
		}
	}
	if len(args)+1 < words[w[0]] {
		return nil, fmt.Errorf("it needs %d words", words[w[0]])
	}
	switch w[0] {
	case "role":
		return nil, p.role(sdk.RolePath(args[0]), named)
	case "node":
		a, err := parseAmount(args[1], false)
		if err == nil {
			p.cluster.SetNode(args[0], a, reserved, len(args) < 3)
		}
		return nil, err
	case "remove":
		p.cluster.RemoveNode(args[0])
		for s := range p.held {
			if s.node == args[0] {
				delete(p.held, s)
			}
		}
		return nil, nil
	case "framework", "want":
		return nil, p.want(w[0] == "framework", args, named)
	case "take":
		a, err := parseAmount(args[3], false)
		if err == nil {
			p.cluster.Take(client(args[0]), sdk.RolePath(args[1]), args[2], a)
			p.known(args[0], sdk.RolePath(args[1]))
			p.held[slot{args[0], args[2]}] = plus(p.held[slot{args[0], args[2]}], a)
		}
		return nil, err
	case "advance":
		d, err := time.ParseDuration(args[0])
		p.now = p.now.Add(sdk.Duration(d.Milliseconds()))
		return nil, err
	case "cycle", "trace":
		return p.cycle(w[0] == "trace")
	case "order":
		return p.sorted()
	}
	d := p.demands[args[0]]
	if d == nil {
		return nil, fmt.Errorf("nobody called %s", args[0])
	}
	return nil, p.act(w[0], d, args)
}

// act does the steps that are about one framework.
func (p *play) act(verb string, d *Demand, args []string) error {
	switch verb {
	case "drop":
		p.cluster.DropDemand(d.Name)
		delete(p.demands, d.Name)
	case "suppress", "resume":
		var rest []string
		for _, m := range p.muted {
			if m != d.Name {
				rest = append(rest, m)
			}
		}
		p.muted = rest
		quiet := *d
		if verb == "suppress" {
			p.muted = append(p.muted, d.Name)
			quiet.Count = 0
		}
		p.cluster.SetDemand(quiet)
	case "revive":
		p.cluster.Revive(d.Name)
	case "free", "decline":
		s := slot{d.Name, args[1]}
		all := p.held[s]
		if verb == "decline" {
			span, err := time.ParseDuration(args[2])
			if err != nil {
				return err
			}
			if all == (Amount{}) {
				return fmt.Errorf("%s holds nothing on %s", d.Name, args[1])
			}
			p.cluster.Decline(d.Name, args[1], all, p.now.Add(sdk.Duration(span.Milliseconds())))
			delete(p.held, s)
			return nil
		}
		part := all
		if len(args) > 2 {
			var err error
			if part, err = parseAmount(args[2], false); err != nil {
				return err
			}
		}
		if !within(part, all) {
			return fmt.Errorf("%s holds only %s on %s", d.Name, all, args[1])
		}
		p.cluster.Free(d.Client, d.Role, args[1], part)
		p.held[s] = minus(all, part)
	}
	return nil
}

func (p *play) role(path sdk.RolePath, named map[string]string) error {
	weight, guarantee, limit := int64(1000), Amount{}, Bounds{-1, -1, -1, -1, -1}
	var err error
	for key, value := range named {
		switch key {
		case "weight":
			weight, err = parseExact(value, 1000)
		case "guarantee":
			guarantee, err = parseAmount(value, false)
		case "limit":
			limit, err = parseAmount(value, true)
		default:
			err = fmt.Errorf("a role has no %s", key)
		}
		if err != nil {
			return err
		}
	}
	p.cluster.SetRole(path, weight, guarantee, limit)
	return nil
}

// everMore is how many offers a framework wants when it does not say.
const everMore = 1 << 20

func (p *play) want(elastic bool, args []string, named map[string]string) error {
	d := &Demand{Name: args[0], Client: client(args[0]), Role: sdk.RolePath(args[1]), Count: everMore, Elastic: elastic}
	var err error
	number := func(s string) (n int64) {
		if err == nil {
			n, err = strconv.ParseInt(s, 10, 32)
		}
		return n
	}
	if !elastic {
		d.Count = uint32(number(args[2]))
		if err == nil {
			d.Need, err = parseAmount(args[3], false)
		}
	}
	for key, value := range named {
		switch key {
		case "min":
			d.Need, err = parseAmount(value, false)
		case "count":
			d.Count = uint32(number(value))
		case "priority":
			d.Priority = int32(number(value))
		default:
			err = fmt.Errorf("%s is not known here", key)
		}
	}
	if err != nil {
		return err
	}
	p.known(d.Name, d.Role)
	p.demands[d.Name] = d
	p.cluster.SetDemand(*d)
	return nil
}

// known makes sure that a framework can be asked for its turn.
func (p *play) known(name string, role sdk.RolePath) {
	if p.demands[name] == nil {
		p.demands[name] = &Demand{Name: name, Client: client(name), Role: role}
		p.cluster.SetDemand(*p.demands[name])
	}
}

// client is the framework part of F@R.
func client(name string) string {
	f, _, _ := strings.Cut(name, "@")
	return f
}

// watch passes everything on and notes whose demand was served.
type watch struct {
	api.Index
	turns []uint32
}

func (w *watch) Place(demand, n uint32, s api.Strategy) (uint32, sdk.Reason) {
	placed, why := w.Index.Place(demand, n, s)
	w.note(demand, placed)
	return placed, why
}

func (w *watch) PlaceOn(demand, node, n uint32) (uint32, sdk.Reason) {
	placed, why := w.Index.PlaceOn(demand, node, n)
	w.note(demand, placed)
	return placed, why
}

func (w *watch) Offer(demand, node uint32, amount []int64) sdk.Reason {
	why := w.Index.Offer(demand, node, amount)
	if why == sdk.ReasonNone {
		w.note(demand, 1)
	}
	return why
}

func (w *watch) note(demand, n uint32) {
	for range n {
		w.turns = append(w.turns, demand)
	}
}
