// Package replica keeps the replicated log: every change of the cluster's state
// is an entry that a majority of the servers holds durably before it is
// applied. One server alone runs the same code with a majority of one.
//
// It is the only user of hashicorp/raft. The data folder holds:
//
//	LOCK             held by the process that uses the folder
//	log.db           bbolt: buckets log (8 bytes big-endian index → entry),
//	                 stable (term and vote), meta (format, tallies)
//	N-T.snapshot     bbolt: the state at index N of term T: buckets chunks
//	                 (number → 64 KiB), meta (format, tally, description)
//
// bbolt does not checksum its pages, so every record ends in a CRC-32C over
// bucket, key and value, every bucket has a tally (count, sum of checksums,
// first and last key) written in the same transaction, and a file's whole tree
// is walked before bbolt may open it. A flipped bit is a Corrupt fault that
// names file, bucket and key. Damage that appears while the server runs, and
// that raft meets while it applies, stops the process.
//
// A full disk is an Exhausted fault: proposals are refused while less than
// Config.MinFree is left, and accepted again when there is space. After any
// other failed write the store refuses to write until it was opened, and so
// verified, again.
package replica

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/drupe-os/drupe/sdk"
)

// MaxEntry is the largest entry, in bytes: raft holds whole batches in memory.
const MaxEntry = 256 << 10

// maxBatch is how many entries raft writes, sends or applies at once.
const maxBatch = 128

// Server names a server of the cluster: its id, and the address its Stream is
// reached at.
type Server struct{ ID, Address string }

// Config says how to open a replica.
type Config struct {
	// Dir is the data folder; made if it does not exist.
	Dir string
	// ID names this server for ever.
	ID string
	// Bootstrap makes a new cluster when the folder is empty: of Servers, or of
	// this server alone.
	Bootstrap bool
	Servers   []Server
	// Stream reaches the other servers; nil for a server that stays alone.
	Stream Stream
	// Election is how long a leader may be silent before another is sought
	// (default 1 s). Raise it where machines stall for longer.
	Election time.Duration
	// A snapshot is taken after SnapshotEvery entries (default 4,096) or
	// SnapshotBytes of entries (default 64 MiB), whichever comes first.
	SnapshotEvery uint64
	SnapshotBytes int64
	// MinFree is the free space, in bytes, under which proposals are refused
	// (default 32 MiB).
	MinFree int64
	// Logger receives what happens; nil: slog.Default.
	Logger *slog.Logger
}

func (c *Config) fill() {
	if c.Election == 0 {
		c.Election = time.Second
	}
	if c.SnapshotEvery == 0 {
		c.SnapshotEvery = 4096
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = 64 << 20
	}
	if c.MinFree == 0 {
		c.MinFree = 32 << 20
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

// Replica is one server's part of the replicated log.
type Replica struct {
	cfg   Config
	lock  *os.File
	store *store
	snaps *snapshots
	trans transport
	fsm   *fsm
	raft  *raft.Raft
	stop  chan struct{} // closed when Close begins
	ended chan struct{} // closed when raft has stopped
	wg    sync.WaitGroup
	once  sync.Once
	err   error // of Close

	mu     sync.RWMutex
	closed bool
}

// Open opens the data folder, verifies it, restores m from the newest snapshot,
// and starts to take part. Entries behind the snapshot are applied as soon as a
// leader says that they are committed; Barrier waits for that on the leader.
//
// Errors: Conflict when another process uses the folder, Corrupt when it is
// damaged, Exhausted when the disk is full.
func Open(cfg Config, m Machine) (*Replica, error) {
	cfg.fill()
	if cfg.ID == "" || cfg.Dir == "" {
		return nil, sdk.Errorf(sdk.Invalid, "replica", "an id and a data folder are needed")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, writeFault(cfg.Dir, err)
	}
	r := &Replica{cfg: cfg, stop: make(chan struct{}), ended: make(chan struct{})}
	if err := r.open(m); err != nil {
		return nil, errors.Join(err, r.release())
	}
	r.wg.Go(r.snapshotWhenFull)
	r.hasten()
	return r, nil
}

func (r *Replica) open(m Machine) (err error) {
	cfg := &r.cfg
	if r.lock, err = lockDir(cfg.Dir); err != nil {
		return err
	}
	if r.store, err = openStore(cfg.Dir); err != nil {
		return err
	}
	if r.snaps, err = openSnapshots(cfg.Dir, cfg.Logger); err != nil {
		return err
	}
	if err := covered(cfg.Dir, r.store, r.snaps); err != nil {
		return err
	}
	log := raftLogger(cfg.Logger)
	r.trans = newTransport(cfg.ID, cfg.Stream, log)
	r.fsm = &fsm{m: m, limit: cfg.SnapshotBytes, full: make(chan struct{}, 1)}
	if len(r.snaps.list) > 0 {
		r.fsm.applied.Store(r.snaps.list[0].Index)
	}
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(cfg.ID)
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = cfg.Election, cfg.Election, cfg.Election/2
	conf.CommitTimeout = min(conf.CommitTimeout, cfg.Election/10)
	conf.MaxAppendEntries, conf.BatchApplyCh = maxBatch, true
	conf.SnapshotThreshold, conf.TrailingLogs = cfg.SnapshotEvery, cfg.SnapshotEvery
	conf.SnapshotInterval = 10 * time.Second
	conf.NoLegacyTelemetry = true
	conf.Logger = log
	cache, err := raft.NewLogCache(maxBatch, r.store)
	if err != nil {
		return err
	}
	logs := cached{cache, r.store}
	// raft panics when it cannot read its log while it starts.
	err = guard(r.store.path, func() error {
		if cfg.Bootstrap {
			if err := r.bootstrap(conf, logs, r.snaps); err != nil {
				return err
			}
		}
		r.raft, err = raft.NewRaft(conf, r.fsm, logs, r.store, r.snaps, r.trans)
		return err
	})
	if failed := r.fsm.failed.Load(); failed != nil && err != nil {
		err = *failed
	}
	return err
}

// covered checks that log and snapshots leave no entry out.
func covered(dir string, s *store, snaps *snapshots) error {
	at := uint64(0)
	if len(snaps.list) > 0 {
		at = snaps.list[0].Index
	}
	if s.log.count != 0 && s.log.count != s.log.last-s.log.first+1 {
		return corrupt(s.path, "bucket %s has gaps", logBucket)
	}
	if s.log.count != 0 && s.log.first > at+1 {
		return corrupt(dir, "the log starts at %d, but the newest usable snapshot ends at %d", s.log.first, at)
	}
	if s.log.last < snaps.damaged && at < snaps.damaged {
		return corrupt(dir, "the snapshot of index %d is damaged, and the log ends at %d", snaps.damaged, s.log.last)
	}
	return nil
}

func (r *Replica) bootstrap(conf *raft.Config, logs raft.LogStore, snaps raft.SnapshotStore) error {
	has, err := raft.HasExistingState(logs, r.store, snaps)
	if err != nil || has {
		return err
	}
	var servers []raft.Server
	for _, s := range r.cfg.Servers {
		servers = append(servers, raft.Server{ID: raft.ServerID(s.ID), Address: raft.ServerAddress(s.Address)})
	}
	if servers == nil {
		servers = []raft.Server{{ID: conf.LocalID, Address: r.trans.LocalAddr()}}
	}
	return raft.BootstrapCluster(conf, logs, r.store, snaps, r.trans, raft.Configuration{Servers: servers})
}

// hasten starts the election at once when this server is the only voter: there
// is nobody whose silence it would have to wait out.
func (r *Replica) hasten() {
	f := r.raft.GetConfiguration()
	if f.Error() != nil {
		return
	}
	servers := f.Configuration().Servers
	if len(servers) != 1 || string(servers[0].ID) != r.cfg.ID {
		return
	}
	req := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(r.cfg.ID), Addr: r.trans.EncodePeer(servers[0].ID, r.trans.LocalAddr()),
	}}
	r.wg.Go(func() {
		// A failure only means that the ordinary timeout decides.
		if err := r.trans.TimeoutNow(servers[0].ID, r.trans.LocalAddr(), req, &raft.TimeoutNowResponse{}); err != nil {
			r.cfg.Logger.Info("election not hastened", "error", err)
		}
	})
}

func (r *Replica) snapshotWhenFull() {
	for {
		select {
		case <-r.stop:
			return
		case <-r.fsm.full:
			if err := r.Snapshot(); err != nil {
				r.cfg.Logger.Error("snapshot failed", "error", err)
			}
		}
	}
}

// Propose asks for data to be committed; it is kept until then and must not be
// changed. Any number of proposals may be in flight: they are committed in the
// order of the calls, many in one durable write. Propose blocks only while raft
// takes no more (128 proposals waiting to be written).
func (r *Replica) Propose(data []byte) Future {
	if len(data) > MaxEntry {
		return Future{err: sdk.Errorf(sdk.TooLarge, "log", "an entry of %d bytes, more than %d", len(data), MaxEntry)}
	}
	if err := r.space(); err != nil {
		return Future{err: err}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return Future{err: sdk.Errorf(sdk.Unavailable, "log", "this server is stopping")}
	}
	return Future{raft: r.raft.Apply(data, 0), stopped: r.ended}
}

// space refuses when the disk is nearly full, so that raft itself, which would
// step down, seldom meets the end of it.
func (r *Replica) space() error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(r.cfg.Dir, &st); err != nil {
		return nil
	}
	if free := int64(st.Bavail) * st.Bsize; free < r.cfg.MinFree {
		return sdk.Errorf(sdk.Exhausted, r.cfg.Dir, "the disk is nearly full").
			Because("%d MiB are free, %d MiB are needed", free>>20, r.cfg.MinFree>>20).
			ToFix("free space on the disk that holds the data folder; the server then goes on by itself")
	}
	return nil
}

// Leader tells when this server begins (true) and ceases (false) to lead. Only
// the latest change is kept. Before it decides anything a new leader calls
// Barrier.
func (r *Replica) Leader() <-chan bool { return r.raft.LeaderCh() }

// IsLeader reports whether this server believes to lead.
func (r *Replica) IsLeader() bool { return r.raft.State() == raft.Leader }

// LeaderServer returns the leader as far as known; zero when there is none.
func (r *Replica) LeaderServer() Server {
	addr, id := r.raft.LeaderWithID()
	return Server{string(id), string(addr)}
}

// Barrier waits until everything committed before it is applied here. Errors:
// as of Future.Wait.
func (r *Replica) Barrier(ctx context.Context) error { return wait(ctx, r.ended, r.raft.Barrier(0)) }

// AppliedIndex returns the index of the last entry the machine has seen.
func (r *Replica) AppliedIndex() uint64 { return r.fsm.applied.Load() }

// AddServer makes s a voter. Errors: Unavailable when this server does not lead.
func (r *Replica) AddServer(ctx context.Context, s Server) error {
	return wait(ctx, r.ended, r.raft.AddVoter(raft.ServerID(s.ID), raft.ServerAddress(s.Address), 0, 0))
}

// RemoveServer takes a server out of the cluster.
func (r *Replica) RemoveServer(ctx context.Context, id string) error {
	return wait(ctx, r.ended, r.raft.RemoveServer(raft.ServerID(id), 0, 0))
}

// Snapshot writes one now and drops entries that are no longer needed.
func (r *Replica) Snapshot() error {
	if err := r.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return fault(err)
	}
	return nil
}

// Stats are figures of one moment.
type Stats struct {
	State              string // "leader", "follower", …
	Term               uint64
	Committed, Applied uint64 // indexes
	First, Last        uint64 // indexes of the log on disk
	Snapshot           uint64 // index of the newest
	FileBytes          int64  // length of log.db
}

// Stats returns the replica's figures.
func (r *Replica) Stats() Stats {
	first, _ := r.store.FirstIndex()
	s := Stats{
		State: r.raft.State().String(), Term: r.raft.CurrentTerm(),
		Committed: r.raft.CommitIndex(), Applied: r.AppliedIndex(), First: first, Last: r.raft.LastIndex(),
	}
	if list, err := r.snaps.List(); err == nil && len(list) > 0 {
		s.Snapshot = list[0].Index
	}
	if st, err := os.Stat(r.store.path); err == nil {
		s.FileBytes = st.Size()
	}
	return s
}

// Scrub reads and checks every record of the open log. Errors: Corrupt.
func (r *Replica) Scrub() error { return r.store.scrub() }

// Close stops taking part and releases the folder. What was acknowledged is on
// disk already.
func (r *Replica) Close() error {
	r.once.Do(func() {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		close(r.stop)
		// What is in raft's queue gets its answer before raft stops listening.
		ctx, cancel := context.WithTimeout(context.Background(), r.cfg.Election)
		if r.IsLeader() {
			_ = r.Barrier(ctx)
		}
		cancel()
		defer close(r.ended)
		r.err = r.raft.Shutdown().Error()
		r.wg.Wait()
		r.err = errors.Join(r.err, r.release())
	})
	return r.err
}

func (r *Replica) release() error {
	var err error
	if r.trans != nil {
		err = errors.Join(err, r.trans.Close())
	}
	if r.store != nil {
		err = errors.Join(err, r.store.close())
	}
	if r.lock != nil {
		err = errors.Join(err, r.lock.Close())
	}
	return err
}
