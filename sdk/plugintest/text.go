package plugintest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// actionLine writes an action as one line.
func (k *Kernel) actionLine(a *sdk.Action) string {
	switch {
	case a.Demand != nil:
		return k.demandLine(a.Demand)
	case a.Drop != nil:
		return "drop " + a.Drop.Name
	case a.Kill != nil:
		s := fmt.Sprintf("kill %s %s", a.Kill.Task, a.Kill.Reason)
		if a.Kill.Grace != 0 {
			s += " grace=" + a.Kill.Grace.String()
		}
		return s
	case a.Resize != nil:
		r := a.Resize
		s := fmt.Sprintf("resize %s (%s)", r.Task, r.Resources)
		if r.Limits.CPUs != 0 || r.Limits.Mem != 0 {
			s += fmt.Sprintf(" limits (cpus %s, mem %s)", sdk.FormatQuantity(sdk.CPUs, int64(r.Limits.CPUs)), sdk.FormatBytes(r.Limits.Mem))
		}
		return s + opt(" tag=", r.Tag)
	case a.Forget != nil:
		return "forget " + string(a.Forget.Task)
	case a.Accept != nil:
		s := fmt.Sprintf("accept %d", a.Accept.Offer)
		for _, l := range a.Accept.Launches {
			s += fmt.Sprintf(" [%s %s%s]", l.Ref, l.Template.Resources, opt(" tag=", l.Tag))
		}
		return s
	case a.Decline != nil:
		return fmt.Sprintf("decline %d filter=%s", a.Decline.Offer, a.Decline.Filter)
	case a.Suppress != nil:
		return "suppress " + a.Suppress.Name
	case a.Revive != nil:
		return "revive " + a.Revive.Name
	case a.Timer != nil && a.Timer.At == 0:
		return "sleep " + a.Timer.Name
	case a.Timer != nil:
		return "wake " + a.Timer.Name + " at=" + k.moment(a.Timer.At)
	case a.Put != nil && a.Put.Value == nil:
		return "put " + a.Put.Key + " nothing"
	case a.Put != nil:
		return fmt.Sprintf("put %s %s", a.Put.Key, printable(a.Put.Value))
	case a.Status != nil:
		return k.statusLine(a.Status.Ref, &a.Status.Status)
	}
	return "an empty action"
}

func (k *Kernel) demandLine(d *sdk.Demand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "demand %s for=%s count=%d", d.Name, d.Ref, d.Count)
	b.WriteString(opt(" role=", string(d.Role)))
	fmt.Fprintf(&b, " (%s)", d.Resources)
	for _, c := range d.Constraints {
		fmt.Fprintf(&b, " [%s %s%s]", c.Attribute, c.Operator, opt(" ", c.Value))
	}
	if d.Template == nil {
		b.WriteString(" offers")
	} else if c := d.Template.Run.Container; c != nil {
		b.WriteString(opt(" image=", c.Image))
	}
	b.WriteString(opt(" tag=", d.Tag))
	if d.NotBefore != 0 {
		b.WriteString(" not-before=" + k.moment(d.NotBefore))
	}
	if d.Priority != 0 {
		fmt.Fprintf(&b, " priority=%d", d.Priority)
	}
	return b.String()
}

func (k *Kernel) statusLine(ref sdk.Ref, s *sdk.DocumentStatus) string {
	line := fmt.Sprintf("status %s %s version=%d wanted=%d running=%d healthy=%d",
		ref, s.Phase, s.Version, s.Wanted, s.Running, s.Healthy)
	if s.Next != 0 {
		line += " next=" + k.moment(s.Next)
	}
	if s.Message != "" {
		line += fmt.Sprintf(" %q", s.Message)
	}
	return line
}

func taskLine(t *sdk.Task) string {
	s := fmt.Sprintf("task %s %s", t.ID, t.Status.State)
	if t.Status.Health != sdk.HealthUnknown {
		s += " " + t.Status.Health.String()
	}
	if t.Status.Reason != 0 {
		s += " " + t.Status.Reason.String()
	}
	s += fmt.Sprintf(" node=%s demand=%s", t.Node, t.Demand) + opt(" tag=", t.Tag)
	if t.Goal == sdk.GoalStop {
		s += " goal=stop"
	}
	if t.Refused != nil {
		s += " refused=" + t.Refused.Reason.String() + opt("@", t.Refused.Tag)
	}
	if t.Unreachable {
		s += " unreachable"
	}
	return s
}

// State returns all that is committed as text lines, sorted within each noun.
func (k *Kernel) State() []string {
	var out []string
	add := func(lines []string) {
		slices.Sort(lines)
		out = append(out, lines...)
	}
	var docs, demands, tasks, offers, timers, store []string
	for _, d := range k.World.Documents {
		docs = append(docs, "document "+strings.TrimPrefix(k.statusLine(d.Ref, &d.Status), "status "))
	}
	for _, d := range k.World.Demands {
		demands = append(demands, k.demandLine(&d))
	}
	for _, t := range k.World.Tasks {
		tasks = append(tasks, taskLine(&t))
	}
	for _, o := range k.World.Offers {
		offers = append(offers, fmt.Sprintf("offer %d demand=%s node=%s (%s)", o.ID, o.Demand, o.Node, o.Resources))
	}
	for _, t := range k.World.Timers {
		timers = append(timers, "timer "+t.Name+" at="+k.moment(t.At))
	}
	for _, e := range k.World.Store {
		store = append(store, "stored "+e.Key+" "+printable(e.Value))
	}
	add(docs)
	add(demands)
	add(tasks)
	add(offers)
	add(timers)
	add(store)
	return out
}

// moment writes a time as the span since Epoch: "+1m30s".
func (k *Kernel) moment(t sdk.Time) string { return "+" + t.Sub(Epoch).String() }

// printable writes text as it is and anything else in hex.
func printable(b []byte) string {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("%x", b)
		}
	}
	return string(b)
}

// opt writes label and value, or nothing when the value is empty.
func opt(label, value string) string {
	if value == "" {
		return ""
	}
	return label + value
}
