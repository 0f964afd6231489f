package replica

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// recorder is a machine whose state is the list of what was applied, with a
// running hash of it.
type recorder struct {
	mu   sync.Mutex
	last uint64
	all  [][]byte
	pad  int // bytes of filling in a snapshot
}

func (m *recorder) Apply(indexes []uint64, data [][]byte) []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]any, len(data))
	for i, d := range data {
		if indexes[i] <= m.last {
			panic(fmt.Sprintf("index %d after %d", indexes[i], m.last))
		}
		m.last = indexes[i]
		m.all = append(m.all, d)
		out[i] = len(m.all)
	}
	return out
}

func (m *recorder) Snapshot() (func(io.Writer) error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last, all, pad := m.last, m.all[:len(m.all):len(m.all)], m.pad
	return func(w io.Writer) error {
		var b []byte
		b = binary.LittleEndian.AppendUint64(b, last)
		b = binary.LittleEndian.AppendUint64(b, uint64(len(all)))
		for _, d := range all {
			b = binary.LittleEndian.AppendUint64(b, uint64(len(d)))
			b = append(b, d...)
		}
		_, err := w.Write(append(b, bytes.Repeat([]byte("drupe"), pad/5)...))
		return err
	}, nil
}

func (m *recorder) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u64 := func() uint64 { v := binary.LittleEndian.Uint64(b); b = b[8:]; return v }
	m.all = nil
	m.last = u64()
	for n := u64(); n > 0; n-- {
		size := u64()
		m.all = append(m.all, b[:size:size])
		b = b[size:]
	}
	return nil
}

func (m *recorder) hash() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := sha256.New()
	for _, d := range m.all {
		fmt.Fprintf(h, "%d:", len(d))
		h.Write(d)
	}
	return fmt.Sprintf("%d %x", len(m.all), h.Sum(nil))
}

func (m *recorder) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all)
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func lone(dir string) Config {
	return Config{Dir: dir, ID: "s1", Bootstrap: true, Logger: quiet(), MinFree: 1}
}

func mustOpen(t testing.TB, cfg Config, m Machine) *Replica {
	t.Helper()
	r, err := Open(cfg, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// awaitLeader waits until r leads and has applied what is committed.
func awaitLeader(t testing.TB, r *Replica) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for !r.IsLeader() {
		select {
		case <-r.Leader():
		case <-timeout:
			t.Fatal("no leader")
		}
	}
	if err := r.Barrier(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func propose(t testing.TB, r *Replica, n int, make func(i int) []byte) {
	t.Helper()
	futures := []Future{}
	for i := range n {
		futures = append(futures, r.Propose(make(i)))
	}
	for i, f := range futures {
		if _, _, err := f.Wait(context.Background()); err != nil {
			t.Fatalf("proposal %d: %v", i, err)
		}
	}
}

func numbers(i int) []byte { return fmt.Appendf(nil, "entry %d", i) }

func TestLoneServer(t *testing.T) {
	dir := t.TempDir()
	m := &recorder{}
	began := time.Now()
	r := mustOpen(t, lone(dir), m)
	awaitLeader(t, r)
	t.Logf("leads after %v", time.Since(began))
	index, result, err := r.Propose([]byte("first")).Wait(context.Background())
	if err != nil || result != 1 || index == 0 || r.AppliedIndex() != index {
		t.Fatalf("index %d (applied %d), result %v, err %v", index, r.AppliedIndex(), result, err)
	}
	propose(t, r, 500, numbers)
	want := m.hash()
	if _, err := Open(lone(dir), &recorder{}); sdk.KindOf(err) != sdk.Conflict {
		t.Fatalf("a second process got the folder: %v", err)
	}
	if err := r.Scrub(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Verify(dir); err != nil {
		t.Fatal(err)
	}
	m = &recorder{}
	r = mustOpen(t, lone(dir), m)
	awaitLeader(t, r)
	if m.hash() != want {
		t.Fatal("another state after the restart")
	}
}

// A lone voter must not sit out an election timeout: it leads long before.
func TestLoneVoterLeadsAtOnce(t *testing.T) {
	cfg := lone(t.TempDir())
	cfg.Election = time.Minute
	awaitLeader(t, mustOpen(t, cfg, &recorder{})) // gives up after 20 s
}

func TestProposalRefused(t *testing.T) {
	cfg := lone(t.TempDir())
	r := mustOpen(t, cfg, &recorder{})
	awaitLeader(t, r)
	if _, _, err := r.Propose(make([]byte, MaxEntry+1)).Wait(context.Background()); sdk.KindOf(err) != sdk.TooLarge {
		t.Fatalf("too large: %v", err)
	}
	if _, _, err := r.Propose(make([]byte, MaxEntry)).Wait(context.Background()); err != nil {
		t.Fatalf("just small enough: %v", err)
	}
	r.cfg.MinFree = 1 << 62
	if _, _, err := r.Propose(nil).Wait(context.Background()); sdk.KindOf(err) != sdk.Exhausted {
		t.Fatalf("no space: %v", err)
	}
	r.cfg.MinFree = 1
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Propose([]byte("late")).Wait(context.Background()); err == nil {
		t.Fatal("committed after Close")
	}
}

func TestSnapshotAndRestart(t *testing.T) {
	dir := t.TempDir()
	cfg := lone(dir)
	cfg.SnapshotEvery, cfg.SnapshotBytes = 50, 64<<10
	m := &recorder{pad: 3 << 20} // more than one commit of chunks
	r := mustOpen(t, cfg, m)
	awaitLeader(t, r)
	for range 4 {
		propose(t, r, 100, func(i int) []byte { return bytes.Repeat(numbers(i), 10) })
		if err := r.Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	st := r.Stats()
	if st.Snapshot == 0 || st.First < 100 {
		t.Fatalf("log not compacted: %+v", st)
	}
	propose(t, r, 10, numbers)
	want := m.hash()
	r.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "*"+snapshotSuffix))
	if len(files) != keepSnapshots {
		t.Fatalf("snapshots kept: %v", files)
	}
	m = &recorder{}
	r = mustOpen(t, cfg, m)
	awaitLeader(t, r)
	if m.hash() != want {
		t.Fatal("another state after the restart")
	}
	r.Close()

	// One flipped bit in the newest snapshot: the older one does not reach the
	// log's beginning here, so the server must not start.
	b, _ := os.ReadFile(files[1])
	i := bytes.LastIndex(b, []byte("drupedrupe"))
	b[i] ^= 1
	os.WriteFile(files[1], b, 0o600)
	if err := Verify(dir); sdk.KindOf(err) != sdk.Corrupt {
		t.Fatalf("verify: %v", err)
	}
	if r, err := Open(cfg, &recorder{}); sdk.KindOf(err) != sdk.Corrupt {
		if err == nil {
			r.Close()
		}
		t.Fatalf("open: %v", err)
	}
}

// With the usual settings the log reaches back to the older snapshot.
func TestDamagedSnapshotIsCoveredByTheLog(t *testing.T) {
	dir := t.TempDir()
	cfg := lone(dir)
	m := &recorder{}
	r := mustOpen(t, cfg, m)
	awaitLeader(t, r)
	for range 2 {
		propose(t, r, 100, numbers)
		if err := r.Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	want := m.hash()
	r.Close()
	files, _ := filepath.Glob(filepath.Join(dir, "*"+snapshotSuffix))
	b, _ := os.ReadFile(files[1])
	i := bytes.LastIndex(b, []byte("entry 7"))
	b[i] ^= 4
	os.WriteFile(files[1], b, 0o600)
	m = &recorder{}
	r = mustOpen(t, cfg, m)
	awaitLeader(t, r)
	if m.hash() != want {
		t.Fatal("another state")
	}
}

// mutual makes one certificate that all servers of a test share.
func mutual(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"server"}, BasicConstraintsValid: true, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: "server", RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
	}
}

func TestThreeServersLeaderKilled(t *testing.T) {
	var cfgs []Config
	var servers []Server
	both := mutual(t)
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("s%d", i)
		servers = append(servers, Server{id, l.Addr().String()})
		cfgs = append(cfgs, Config{Dir: t.TempDir(), ID: id, Stream: TLS(l, both, both), Bootstrap: true, Logger: quiet(), Election: 500 * time.Millisecond, MinFree: 1})
	}
	machines := make([]*recorder, 3)
	replicas := make([]*Replica, 3)
	for i := range cfgs {
		cfgs[i].Servers = servers
		machines[i] = &recorder{}
		replicas[i] = mustOpen(t, cfgs[i], machines[i])
	}
	// leads returns the leader among the servers but those left out.
	changed := make(chan struct{}, 1)
	for _, r := range replicas {
		go func() {
			for {
				select {
				case <-t.Context().Done():
					return
				case <-r.Leader():
				}
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}()
	}
	leads := func(without int) int {
		timeout := time.After(30 * time.Second)
		for {
			for i, r := range replicas {
				if i != without && r.IsLeader() && r.Barrier(context.Background()) == nil {
					return i
				}
			}
			select {
			case <-timeout:
				t.Fatal("no leader")
			case <-changed:
			}
		}
	}
	first := leads(-1)
	propose(t, replicas[first], 200, numbers)
	began := time.Now()
	replicas[first].Close()
	second := leads(first)
	t.Logf("new leader after %v", time.Since(began))
	if n := machines[second].len(); n != 200 {
		t.Fatalf("%d of 200 acknowledged entries after the leader was killed", n)
	}
	propose(t, replicas[second], 10, numbers)
	follower := 3 - first - second
	if _, _, err := replicas[follower].Propose([]byte("x")).Wait(context.Background()); sdk.KindOf(err) != sdk.Unavailable {
		t.Fatalf("a follower took a proposal: %v", err)
	}
	replicas[follower].Close()
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, _, err := replicas[second].Propose([]byte("alone")).Wait(ctx)
	if k := sdk.KindOf(err); k != sdk.Timeout && k != sdk.Unavailable {
		t.Fatalf("acknowledged without a majority: %v", err)
	}
}

func TestWaitGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("caller went away")
	cancel(why)
	r := mustOpen(t, lone(t.TempDir()), &recorder{})
	awaitLeader(t, r)
	_, _, err := r.Propose([]byte("x")).Wait(ctx)
	if err != nil && (sdk.KindOf(err) != sdk.Timeout || !errors.Is(err, why)) {
		t.Fatal(err)
	}
}
