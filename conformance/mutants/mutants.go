// Package mutants watches the watchmen: it plants known bugs into the sources,
// one at a time, and the simulator must notice each. A planted bug that nothing
// notices is a hole in the tests.
//
// The sources themselves are not touched: the Go toolchain builds the simulator
// over an overlay.
package mutants

// Mutant is one bug: in File, Old becomes New.
type Mutant struct {
	Name, File, Old, New string
}

// All is the kept list. It grows with every bug that got past the tests.
var All = []Mutant{
	{"status moves backwards", "kernel/core/task.go",
		"if t.state.Terminal() || st.State < t.state {", "if false {"},
	{"ended task keeps its resources", "kernel/core/task.go",
		"	s.book.Release(t.group.ref, &t.placed)\n", ""},
	{"kill is not passed on to the node", "kernel/core/task.go",
		"	t.goal, t.goalReason, t.goalMessage, t.grace = sdk.GoalStop, why, message, grace\n	s.assign(t)\n",
		"	t.goal, t.goalReason, t.goalMessage, t.grace = sdk.GoalStop, why, message, grace\n"},
	{"ended task is never forgotten by its node", "kernel/core/tell.go",
		"		d.Forget = append(d.Forget, f.Task)\n", "		_ = d\n"},
	{"node is not told of its tasks", "kernel/core/tell.go",
		"			d.Tasks = append(d.Tasks, t.assignment())\n", "			_ = d\n"},
	{"task that its node lost is begun again", "kernel/core/node.go",
		"	s.lostTasks(n, c.Tasks)\n", ""},
	{"offer given twice", "kernel/core/offer.go",
		"	delete(s.offers, o.ID)\n	s.ledger.Give(&o.grant)\n	n := s.nodeByID[o.Node]\n", "	s.ledger.Give(&o.grant)\n	n := s.nodeByID[o.Node]\n"},
	{"declined offer is not given back", "kernel/core/offer.go",
		"	delete(s.offers, o.ID)\n	s.ledger.Give(&o.grant)\n	s.tell(", "	delete(s.offers, o.ID)\n	s.tell("},
	{"cursor moves without its last action", "kernel/core/framework.go",
		"	for i := range actions {\n		s.act(", "	for i := range max(len(actions)-1, 0) {\n		s.act("},
	{"quota is checked before and not after", "kernel/account/take.go",
		"if a.consumed[d]+amount[d]-l.within(r, parts, d) > most {", "if a.consumed[d] > most {"},
	{"node is filled beyond what it has", "kernel/account/take.go",
		"		for d, x := range amount {\n			if x > 0 && x > free[d] {", "		for d, x := range amount {\n			if x > 1<<62 && x > free[d] {"},
	{"port is given out while it is taken", "kernel/offer/ports.go",
		"			p.take(port)\n			return port", "			return port"},
	{"role's books forget what an offer held", "kernel/account/take.go",
		"			a.held[d] += sign * x\n", "			if g.Purpose == ForTask || sign > 0 {\n				a.held[d] += sign * x\n			}\n"},
	{"timers are not in the snapshot", "kernel/core/snapshot.go",
		"f.inbox, f.sortedStore(), f.sortedTimers(), f.held", "f.inbox, f.sortedStore(), nil, f.held"},
	{"where the next port is sought is not in the snapshot", "kernel/core/restore.go",
		"		s.book.SetNextPort(n.row, in.Nodes[i].NextPort)\n", ""},
	{"a round leaves what it tried in the books", "kernel/offer/round.go",
		"		r.book.Undo(r.tries[i].ref, &r.tries[i].placed)", "		_ = i"},
	{"stopped task is left running by its node", "agent/plan/plan.go",
		"		case goal == Stop:\n			return Step{Op: SetStatus, State: sdk.Killing, Reason: reason}\n", "		case reason > 9999:\n			return Step{}\n"},
	{"task is started again after its container vanished", "agent/plan/plan.go",
		"	if t.Seen == Absent && (t.Launched || t.State == sdk.Running) {", "	if false {"},
	{"device is given out while it is held", "kernel/offer/devices.go",
		"			s.held[d.ID] += share\n", ""},
	{"lost device ends nobody", "kernel/core/node.go",
		"	s.setNodeCapacity(n)\n	s.loseDevices(n)\n", "	s.setNodeCapacity(n)\n"},
	{"ill device is given out", "kernel/offer/devices.go",
		"	if !d.well || held > 0", "	if held > 0"},
	{"held devices are not in the snapshot", "kernel/core/restore.go",
		"Devices: r.Devices, ", ""},
	{"node is not told of a task's new size", "kernel/core/resize.go",
		"	s.assign(t)\n", ""},
	{"resized task is charged what it was", "kernel/account/regrant.go",
		"	g.Amount, g.Parts = amount,", "	_, g.Parts = amount,"},
}
