package core

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/sdk"
)

// Snapshot is a state written down: all tables, in a fixed order. Two equal
// states have equal snapshots, byte for byte. What can be worked out again
// (books, indexes, counters) is not in it.
type Snapshot struct {
	Format     uint32           `msg:"v"`
	Index      uint64           `msg:"i"`
	Now        sdk.Time         `msg:"t"`
	Serials    [3]uint64        `msg:"s"` // task, offer, generation
	Policy     PolicyRecord     `msg:"p"`
	Roles      []sdk.Role       `msg:"r"`
	Nodes      []NodeRecord     `msg:"n"`
	Settings   []SettingsRecord `msg:"e"`
	Documents  []sdk.Document   `msg:"d"`
	Plugins    []sdk.Plugin     `msg:"g"`
	Frameworks []FrameworkState `msg:"f"`
	Groups     []GroupRecord    `msg:"u"`
	Demands    []DemandRecord   `msg:"m"`
	Tasks      []TaskRecord     `msg:"k"`
	Offers     []OfferRecord    `msg:"o"`
	Counts     []CountRecord    `msg:"c"`
	Declines   []DeclineRecord  `msg:"l"`
}

// snapshotFormat is the layout written now. An older one is migrated on Restore.
const snapshotFormat = 1

// PolicyRecord is the policy at work.
type PolicyRecord struct {
	Active   sdk.PluginName `msg:"a"`
	Previous sdk.PluginName `msg:"p"`
	Since    sdk.Time       `msg:"s"`
	By       string         `msg:"b"`
}

// NodeRecord is one node, in the order of rows.
type NodeRecord struct {
	Node     sdk.Node `msg:"n"`
	NextPort uint16   `msg:"p"`
}

// SettingsRecord is what operators declared about one node name.
type SettingsRecord struct {
	Name     string       `msg:"n"`
	Settings NodeSettings `msg:"s"`
}

// FrameworkState is what is kept for one framework.
type FrameworkState struct {
	Name   sdk.PluginName       `msg:"n"`
	Seq    uint64               `msg:"s"`
	Inbox  []sdk.FrameworkEvent `msg:"i"`
	Store  []sdk.KeyValue       `msg:"k"`
	Timers []sdk.Timer          `msg:"t"`
	Held   []sdk.Action         `msg:"h,omitempty"`
	Parts  uint32               `msg:"p,omitempty"`
}

// GroupRecord is what some tasks share.
type GroupRecord struct {
	Ref       sdk.Ref        `msg:"f"`
	Plugin    sdk.PluginName `msg:"p"`
	Demand    string         `msg:"d"`
	Tag       string         `msg:"g"`
	Role      sdk.RolePath   `msg:"r"`
	Resources sdk.Resources  `msg:"q"`
	Template  *sdk.Template  `msg:"t"`
}

// DemandRecord is one demand, by age.
type DemandRecord struct {
	Plugin     sdk.PluginName `msg:"p"`
	Demand     sdk.Demand     `msg:"d"`
	Suppressed bool           `msg:"s"`
	Waiting    sdk.Reason     `msg:"w"`
	Group      uint32         `msg:"g"` // row in Groups, from 1; 0: none of its tasks is left
}

// TaskRecord is one task, by serial.
type TaskRecord struct {
	Group       uint32              `msg:"g"` // row in Groups
	Serial      uint64              `msg:"s"`
	Node        uint32              `msg:"n"` // row
	Ports       []sdk.PortBinding   `msg:"p"`
	Devices     []sdk.DeviceBinding `msg:"d,omitempty"`
	Parts       []PartRecord        `msg:"a"`
	Created     sdk.Time            `msg:"c"`
	Goal        sdk.Goal            `msg:"o"`
	GoalReason  sdk.Reason          `msg:"w"`
	GoalMessage string              `msg:"m,omitempty"`
	Refused     *sdk.RefusedResize  `msg:"z,omitempty"`
	Grace       sdk.Duration        `msg:"r"`
	Unreachable bool                `msg:"u"`
	Status      sdk.TaskStatus      `msg:"t"`
}

// PartRecord is what a task or offer took from a reservation.
type PartRecord struct {
	Role   sdk.RolePath  `msg:"r"`
	Amount sdk.Resources `msg:"a"`
}

// OfferRecord is one standing offer.
type OfferRecord struct {
	Offer sdk.Offer    `msg:"o"`
	Parts []PartRecord `msg:"a"`
}

// CountRecord is how many allocations a client, or with an empty Plugin a role,
// was ever given.
type CountRecord struct {
	Role   sdk.RolePath   `msg:"r"`
	Plugin sdk.PluginName `msg:"p"`
	Ref    sdk.Ref        `msg:"f"`
	Count  uint64         `msg:"n"`
}

// DeclineRecord is one remembered decline.
type DeclineRecord struct {
	Role   sdk.RolePath   `msg:"r"`
	Plugin sdk.PluginName `msg:"p"`
	Ref    sdk.Ref        `msg:"f"`
	Demand string         `msg:"d"`
	Node   uint32         `msg:"n"`
	Amount sdk.Resources  `msg:"a"`
	Ports  uint32         `msg:"o"`
	Until  sdk.Time       `msg:"u"`
}

// Hash returns the SHA-256 of the state's snapshot, in hex: equal on all
// replicas at the same index.
func (s *State) Hash() string {
	b, err := s.Snapshot().MarshalMsg(nil)
	if err != nil {
		return "error: " + err.Error() // the types above cannot fail to encode
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Snapshot writes the state down. The result shares memory with the state and
// must be encoded before the next Apply.
func (s *State) Snapshot() *Snapshot {
	out := &Snapshot{Format: snapshotFormat, Index: s.index, Now: s.now,
		Serials: [3]uint64{s.serials.Task, s.serials.Offer, s.serials.Generation},
		Policy:  PolicyRecord{s.policy, s.previousPolicy, s.policySince, s.policyBy}}
	for _, r := range s.sortedRoles() {
		out.Roles = append(out.Roles, *r)
	}
	for _, n := range s.nodes {
		out.Nodes = append(out.Nodes, NodeRecord{n.Node, s.book.NextPort(n.row)})
	}
	for _, name := range sortedKeys(s.settings) {
		out.Settings = append(out.Settings, SettingsRecord{name, s.settings[name]})
	}
	for _, d := range s.sortedDocuments() {
		out.Documents = append(out.Documents, *d)
	}
	for _, name := range sortedKeys(s.plugins) {
		out.Plugins = append(out.Plugins, *s.plugins[name])
	}
	for _, name := range s.frameworkNames() {
		f := s.frameworks[name]
		out.Frameworks = append(out.Frameworks, FrameworkState{name, f.seq, f.inbox, f.sortedStore(), f.sortedTimers(), f.held, f.parts})
	}
	groups := s.snapshotTasks(out)
	for _, d := range s.demands {
		out.Demands = append(out.Demands, DemandRecord{d.plugin, d.Demand, d.suppressed, d.waiting, groups.find(d.group)})
	}
	for _, o := range s.sortedOffers() {
		out.Offers = append(out.Offers, OfferRecord{o.Offer, s.parts(o.grant.Parts)})
	}
	s.snapshotCounts(out)
	return out
}

// groupRows numbers groups from 1. It goes by what they say, not by which they
// are: whether two tasks that are alike share their group is nobody's business.
type groupRows struct {
	rows map[string]uint32
	seen map[*group]string
}

func (g *groupRows) key(of *group) (key string, record GroupRecord) {
	record = GroupRecord{of.ref, of.plugin, of.demand, of.tag, of.role, of.resources, of.template}
	if key, ok := g.seen[of]; ok {
		return key, record
	}
	b, err := record.MarshalMsg(nil)
	if err != nil {
		b = []byte(err.Error()) // the type cannot fail to encode
	}
	g.seen[of] = string(b)
	return string(b), record
}

// find returns a group's row, 0 when no task has it.
func (g *groupRows) find(of *group) uint32 {
	if of == nil {
		return 0
	}
	key, _ := g.key(of)
	return g.rows[key]
}

// snapshotTasks writes the tasks and the groups they share.
func (s *State) snapshotTasks(out *Snapshot) *groupRows {
	g := &groupRows{rows: map[string]uint32{}, seen: map[*group]string{}}
	for _, t := range s.sortedTasks() {
		key, record := g.key(t.group)
		row, ok := g.rows[key]
		if !ok {
			out.Groups = append(out.Groups, record)
			row = uint32(len(out.Groups))
			g.rows[key] = row
		}
		out.Tasks = append(out.Tasks, TaskRecord{Group: row - 1, Serial: t.serial, Node: uint32(t.node.row), Ports: t.placed.Ports,
			Devices: t.placed.Devices, Parts: s.parts(t.placed.Grant.Parts), Created: t.created, Goal: t.goal,
			GoalReason: t.goalReason, GoalMessage: t.goalMessage, Refused: t.refused, Grace: t.grace,
			Unreachable: t.unreachable, Status: t.status()})
	}
	return g
}

func (s *State) parts(parts []account.Part) []PartRecord {
	var out []PartRecord
	for _, p := range parts {
		out = append(out, PartRecord{s.ledger.RoleAccount(p.Role).Path, s.ledger.Resources(p.Amount)})
	}
	return out
}

// snapshotCounts writes down what the books remember beyond what is held.
func (s *State) snapshotCounts(out *Snapshot) {
	for _, row := range s.ledger.RolesInOrder() {
		if a := s.ledger.RoleAccount(row); a.Allocations > 0 {
			out.Counts = append(out.Counts, CountRecord{Role: a.Path, Count: a.Allocations})
		}
	}
	clients := s.ledger.Clients()
	keys := make([]account.ClientKey, 0, len(clients))
	for k, c := range clients {
		if c.Allocations > 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareClients)
	for _, k := range keys {
		out.Counts = append(out.Counts, CountRecord{k.Role, k.Plugin, k.Ref, clients[k].Allocations})
	}
	var declines []offer.Filter
	for f := range s.book.Filters {
		declines = append(declines, f)
	}
	slices.SortFunc(declines, func(a, b offer.Filter) int {
		return cmp.Or(compareClients(a.Client, b.Client), strings.Compare(a.Demand, b.Demand), cmp.Compare(a.Node, b.Node))
	})
	for _, f := range declines {
		out.Declines = append(out.Declines, DeclineRecord{f.Client.Role, f.Client.Plugin, f.Client.Ref, f.Demand, uint32(f.Node),
			s.ledger.Resources(f.Amount), uint32(f.Amount[account.DimPorts]), f.Until})
	}
}

func compareClients(a, b account.ClientKey) int {
	return cmp.Or(strings.Compare(string(a.Role), string(b.Role)), strings.Compare(string(a.Plugin), string(b.Plugin)),
		strings.Compare(a.Ref.Kind, b.Ref.Kind), strings.Compare(a.Ref.Name, b.Ref.Name))
}
