package kernel

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/kernel/core"
	"github.com/drupe-os/drupe/kernel/replica"
	"github.com/drupe-os/drupe/sdk/wire"
)

const crashDir = "KERNEL_TEST_CRASH_DIR"

func crashable(dir string) func(*Config) {
	return func(c *Config) {
		c.Replica.Dir = dir
		c.Replica.SnapshotEvery, c.Replica.SnapshotBytes = 100, 64<<10 // snapshots are in the way of the kill, too
	}
}

// TestCrashChild is the server that TestKilledServer kills. It changes its
// cluster without end, and says which state it was in at which index.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		t.Skip("only as a child of TestKilledServer")
	}
	r := newRig(t, native(), crashable(dir))
	r.connect("n1", 1500)
	r.connect("n2", 1500)
	for i := rand.IntN(1000); ; i++ {
		r.apply(service(fmt.Sprint("s", i%7), i%6))
		if i%10 == 0 {
			r.connect("n2", int64(1000+i%3*500))
		}
		hash, index := r.Hash()
		fmt.Println("at", index, hash)
	}
}

// follower is the state machine alone, with the hash at every index it passes.
type follower struct {
	state *core.State
	at    map[uint64]string
	err   error
}

func (f *follower) Apply(indexes []uint64, data [][]byte) []any {
	for i, b := range data {
		var e core.Entry
		if err := wire.Decode(b, &e); err != nil {
			f.err = err
		} else if _, err := f.state.Apply(indexes[i], &e); err != nil {
			f.err = err
		}
		f.at[indexes[i]] = f.state.Hash()
		f.state.TakeChanges()
	}
	return make([]any, len(data))
}

func (f *follower) Snapshot() (func(io.Writer) error, error) {
	b, err := f.state.Snapshot().MarshalMsg(nil)
	return func(w io.Writer) error { _, err := w.Write(b); return err }, err
}

func (f *follower) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	var snap core.Snapshot
	if err := wire.Decode(b, &snap); err != nil {
		return err
	}
	if f.state, err = core.Restore(&snap); err == nil {
		f.at[f.state.Index()] = f.state.Hash()
	}
	return err
}

// TestKilledServer kills a working server at any moment, over and over: what is
// on disk leads to the very states it was in, nothing it said is missing, and
// the books balance.
func TestKilledServer(t *testing.T) {
	dir, compared, entries := t.TempDir(), 0, uint64(0)
	temp := t.TempDir() // a killed child does not clean up
	for i := range 12 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestCrashChild$")
		cmd.Env = append(os.Environ(), crashDir+"="+dir, "TMPDIR="+temp)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := map[uint64]string{}
		var last uint64
		var kill *time.Timer
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var index uint64
			var hash string
			if n, _ := fmt.Sscanf(lines.Text(), "at %d %s", &index, &hash); n == 2 && len(hash) == 64 {
				said[index], last = hash, index
				if kill == nil { // it works: from now on any moment will do
					kill = time.AfterFunc(time.Duration(rand.IntN(150))*time.Millisecond, func() { cmd.Process.Kill() })
				}
			}
		}
		cmd.Wait()
		if kill == nil {
			t.Fatalf("cycle %d: the server did not come to work: %s", i, stderr.String())
		}
		kill.Stop()

		f := &follower{state: core.New(), at: map[uint64]string{}}
		var cfg Config
		crashable(dir)(&cfg)
		cfg.Replica.ID, cfg.Replica.SnapshotEvery = "s1", 1<<40
		r, err := replica.Open(cfg.Replica, f)
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		select {
		case <-r.Leader():
			err = r.Barrier(ctx)
		case <-ctx.Done():
			err = ctx.Err()
		}
		cancel()
		if closing := r.Close(); err == nil {
			err = closing
		}
		if err == nil {
			err = f.err
		}
		if err == nil {
			err = f.state.Check()
		}
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if f.state.Index() < last {
			t.Fatalf("cycle %d: it was at %d, on disk is %d", i, last, f.state.Index())
		}
		for index, hash := range said {
			if got, ok := f.at[index]; ok && got != hash {
				t.Fatalf("cycle %d: at index %d the server was in state %s, its disk says %s", i, index, hash, got)
			} else if ok {
				compared++
			}
		}
		entries = f.state.Index()
	}
	t.Logf("%d entries, %d states compared", entries, compared)
	if compared < 12 {
		t.Errorf("only %d states were compared: the test shows little", compared)
	}
}
