// Package core is the replicated state machine: it applies committed entries to
// the state of the cluster, one after the other, and says what followed.
//
// The same entries lead to the same state, byte for byte, on every replica and
// in every replay. So the package is pure: entries carry the time and every
// identity that had to be chosen; there is no clock, no randomness, no I/O, no
// goroutine and no order of a map in anything that is stored or told.
//
// Each noun has a file of its own with its table, what may happen to it, and
// what must hold for it.
package core

import (
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/kernel/account"
	"github.com/drupe-os/drupe/kernel/offer"
	"github.com/drupe-os/drupe/sdk"
)

// State is everything the cluster has agreed on.
type State struct {
	index uint64
	now   sdk.Time

	ledger *account.Ledger
	book   *offer.Book

	nodes      []*node // by row
	nodeByID   map[sdk.NodeID]*node
	nodeByName map[string]*node
	settings   map[string]NodeSettings // declared, by node name

	roles     map[sdk.RolePath]*sdk.Role
	documents map[sdk.Ref]*sdk.Document
	plugins   map[sdk.PluginName]*sdk.Plugin
	kinds     map[string]sdk.PluginName

	policy, previousPolicy sdk.PluginName
	policySince            sdk.Time
	policyBy               string

	frameworks map[sdk.PluginName]*framework
	demands    []*demand // by age; ended ones are swept
	demandBy   map[demandKey]*demand
	tasks      map[uint64]*task // by serial
	byRef      map[sdk.Ref]*refTasks
	offers     map[sdk.OfferID]*offerRecord

	serials serials
	wake    sdk.Time // when time alone changes something next, 0 for never

	resized resized // the last one, so that tasks resized alike share what they are

	changes Changes
	part    uint32
	touched []account.NodeRow
	failed  error
}

// serials are the counters from which identities are made; none is used twice.
type serials struct {
	Task, Offer, Generation uint64
}

// Changes is what followed from applying entries, for those who carry it out.
type Changes struct {
	Events []sdk.Event
	// Assign are tasks whose assignment their node must hear of.
	Assign []Assigned
	// Forget are ended tasks that their nodes may forget.
	Forget []Assigned
	// Room is true when something may be placed now that could not be before.
	Room bool
}

// Assigned names a task and its node.
type Assigned struct {
	Node sdk.NodeID
	Task sdk.TaskID
}

// New returns the state of a cluster in which nothing ever happened.
func New() *State {
	l := account.New()
	s := &State{
		ledger:     l,
		book:       offer.New(l),
		nodeByID:   map[sdk.NodeID]*node{},
		nodeByName: map[string]*node{},
		settings:   map[string]NodeSettings{},
		roles:      map[sdk.RolePath]*sdk.Role{},
		documents:  map[sdk.Ref]*sdk.Document{},
		plugins:    map[sdk.PluginName]*sdk.Plugin{},
		kinds:      map[string]sdk.PluginName{},
		frameworks: map[sdk.PluginName]*framework{},
		demandBy:   map[demandKey]*demand{},
		tasks:      map[uint64]*task{},
		byRef:      map[sdk.Ref]*refTasks{},
		offers:     map[sdk.OfferID]*offerRecord{},
	}
	l.OnChange(func(n account.NodeRow) { s.touched = append(s.touched, n) })
	return s
}

// Index returns the index of the last entry applied.
func (s *State) Index() uint64 { return s.index }

// Now returns the state's clock: the time of the last entry.
func (s *State) Now() sdk.Time { return s.now }

// TakeChanges returns what followed since the last call.
func (s *State) TakeChanges() Changes {
	c := s.changes
	s.changes = Changes{}
	return c
}

// tell adds an event to the stream.
func (s *State) tell(e sdk.Event) {
	e.Index, e.Part, e.Time = s.index, s.part, s.now
	s.part++
	s.changes.Events = append(s.changes.Events, e)
}

// taskID writes a task's identity: the document's name and a serial number that
// no other task of the cluster ever had.
func taskID(ref sdk.Ref, serial uint64) sdk.TaskID {
	return sdk.TaskID(ref.Name + "." + strconv.FormatUint(serial, 36))
}

// lookup finds a task by its identity.
func (s *State) lookup(id sdk.TaskID) *task {
	i := strings.LastIndexByte(string(id), '.')
	serial, err := strconv.ParseUint(string(id[i+1:]), 36, 64)
	if err != nil {
		return nil
	}
	t := s.tasks[serial]
	if t == nil || t.id() != id {
		return nil
	}
	return t
}
