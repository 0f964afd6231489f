package kernel

import (
	"strings"
	"sync"
	"time"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/sdk"
)

// sessions knows which nodes are connected to this server.
type sessions struct {
	mu   sync.Mutex
	open map[sdk.NodeID]uint64
}

func (s *sessions) set(n sdk.NodeID, session uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[n] = session
}

// drop ends a session, unless a newer one took its place.
func (s *sessions) drop(n sdk.NodeID, session uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[n] != session {
		return false
	}
	delete(s.open, n)
	return true
}

func (s *sessions) has(n sdk.NodeID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.open[n]
	return ok
}

func (s *sessions) is(n sdk.NodeID, session uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[n] == session
}

// AgentConnected commits that a node has a session and sends it all it should
// run. Errors: those of the commit; the node is not connected then.
func (k *Kernel) AgentConnected(node sdk.NodeID, session uint64, h *sdk.Hello) error {
	k.sessions.set(node, session)
	tell := core.Command{Report: &core.ReportStatuses{Node: node, Statuses: clip(h.Tasks)}}
	connect := &core.ConnectNode{Node: node, Name: h.Name, Machine: h.Machine, Tasks: h.Tasks}
	cmds := []core.Command{{Connect: connect}}
	if tell.Msgsize() > entrySize/2 {
		// Too much for one entry. Which tasks the node knows comes first, as
		// statuses that tell nothing new, and how they are after that.
		connect.Tasks = make([]sdk.TaskStatus, len(h.Tasks))
		for i := range h.Tasks {
			connect.Tasks[i].Task = h.Tasks[i].Task
		}
		cmds = append(cmds, tell)
	}
	results, err := k.proposeAll(k.ctx, "agent/"+string(node), cmds)
	if err == nil && results[0].Fault != nil {
		err = results[0].Fault
	}
	if err != nil {
		k.sessions.drop(node, session)
		return err
	}
	k.mu.RLock() // nothing is applied, and so nothing sent, in between
	defer k.mu.RUnlock()
	k.cfg.Agents.Send(node, k.state.Desired(node))
	k.log.Info("node connected", "node", h.Name, "session", session)
	return nil
}

// AgentMachine commits what a node found its machine to be.
func (k *Kernel) AgentMachine(node sdk.NodeID, session uint64, m *sdk.MachineUpdate) {
	if !k.sessions.is(node, session) {
		return
	}
	if _, err := k.one(k.ctx, "agent/"+string(node), core.Command{Machine: &core.SetMachine{Node: node, Machine: m.Machine}}); err != nil {
		k.log.Warn("machine not updated", "node", string(node), "error", err)
	}
}

// AgentLost begins to count the time a node is without a session.
func (k *Kernel) AgentLost(node sdk.NodeID, session uint64) {
	if !k.sessions.drop(node, session) {
		return
	}
	time.AfterFunc(k.cfg.NodeGrace, func() { k.missNode(node) })
}

// missNode commits that a node is unreachable, unless it is back.
func (k *Kernel) missNode(node sdk.NodeID) {
	if k.ctx.Err() != nil || !k.isLeader() || k.sessions.has(node) {
		return
	}
	k.log.Warn("node unreachable", "node", string(node))
	if _, err := k.one(k.ctx, "kernel", core.Command{Liveness: &core.SetLiveness{Node: node, Liveness: sdk.NodeUnreachable}}); err != nil {
		k.log.Warn("cannot record it", "node", string(node), "error", err)
	}
}

// missNodes gives the nodes that were up under an earlier leader time to come
// back.
func (k *Kernel) missNodes() {
	select {
	case <-k.ctx.Done():
		return
	case <-time.After(3 * k.cfg.NodeGrace):
	}
	k.mu.RLock()
	live := k.state.LiveNodes()
	k.mu.RUnlock()
	for _, n := range live {
		k.missNode(n)
	}
}

// report is one report on its way into the log.
type report struct {
	node    sdk.NodeID
	session uint64
	*sdk.Report
}

// AgentReport takes in a report; it is acknowledged when it is committed.
func (k *Kernel) AgentReport(node sdk.NodeID, session uint64, r *sdk.Report) {
	r.Statuses = clip(r.Statuses)
	select {
	case k.reports <- report{node, session, r}:
	case <-k.ctx.Done():
	}
}

// maxMessage bounds what a node may say about a task, in bytes.
const maxMessage = 4 << 10

// clip shortens messages that are too long for the log.
func clip(statuses []sdk.TaskStatus) []sdk.TaskStatus {
	for i := range statuses {
		if m := &statuses[i].Message; len(*m) > maxMessage {
			*m = strings.ToValidUTF8((*m)[:maxMessage], "")
		}
	}
	return statuses
}

// reportsPerEntry bounds the statuses committed at once.
const reportsPerEntry = 1024

// batchReports commits reports, all that wait at a time.
func (k *Kernel) batchReports() {
	for {
		var batch []report
		select {
		case <-k.ctx.Done():
			return
		case r := <-k.reports:
			batch = append(batch, r)
		}
		for n := len(batch[0].Statuses); n < reportsPerEntry; {
			select {
			case r := <-k.reports:
				batch = append(batch, r)
				n += len(r.Statuses)
				continue
			default:
			}
			break
		}
		k.commitReports(batch)
	}
}

func (k *Kernel) commitReports(batch []report) {
	cmds := make([]core.Command, 0, len(batch))
	for _, r := range batch {
		if k.sessions.is(r.node, r.session) {
			cmds = append(cmds, core.Command{Report: &core.ReportStatuses{Node: r.node, Statuses: r.Statuses}})
		}
	}
	if len(cmds) == 0 {
		return
	}
	if _, err := k.proposeAll(k.ctx, "agents", cmds); err != nil {
		// Not acknowledged: the agents send them again.
		k.log.Warn("reports not committed", "error", err)
		return
	}
	for _, r := range batch {
		k.cfg.Agents.Ack(r.node, r.session, r.Seq)
	}
}
