package replica

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// The test binary runs itself again as the process to kill, or to starve of
// disk space.
func TestMain(m *testing.M) {
	switch os.Getenv("REPLICA_TEST_CHILD") {
	case "":
		os.Exit(m.Run())
	case "writer":
		os.Exit(exit(childWriter(os.Getenv("REPLICA_TEST_DIR"))))
	case "fulldisk":
		os.Exit(exit(childFullDisk(os.Getenv("REPLICA_TEST_DIR"))))
	}
}

func exit(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func child(t *testing.T, role, dir string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "REPLICA_TEST_CHILD="+role, "REPLICA_TEST_DIR="+dir)
	cmd.Stderr = &bytes.Buffer{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// counter is a machine that demands entries 1, 2, 3, … each exactly once.
type counter struct{ n uint64 }

func (c *counter) Apply(_ []uint64, data [][]byte) []any {
	out := make([]any, len(data))
	for i, d := range data {
		if v := binary.LittleEndian.Uint64(d); v == c.n+1 {
			c.n = v
		} else {
			out[i] = fmt.Errorf("entry %d after %d", v, c.n)
		}
	}
	return out
}

func (c *counter) Snapshot() (func(io.Writer) error, error) {
	n := c.n
	return func(w io.Writer) error { return binary.Write(w, binary.LittleEndian, n) }, nil
}

func (c *counter) Restore(r io.Reader) error { return binary.Read(r, binary.LittleEndian, &c.n) }

func entry(n uint64) []byte {
	return binary.LittleEndian.AppendUint64(make([]byte, 0, 100), n)[:8+n%90]
}

func crashConfig(dir string) Config {
	cfg := lone(dir)
	cfg.SnapshotEvery, cfg.SnapshotBytes = 100, 20<<10 // snapshots are in the way of the kill, too
	return cfg
}

func openAndCatchUp(cfg Config, m Machine) (*Replica, error) {
	r, err := Open(cfg, m)
	if err != nil {
		return nil, err
	}
	select {
	case <-r.Leader():
	case <-time.After(20 * time.Second):
		return nil, errors.Join(errors.New("no leader"), r.Close())
	}
	return r, r.Barrier(context.Background())
}

// childWriter proposes numbers, 16 in flight, and prints each acknowledged one.
func childWriter(dir string) error {
	c := &counter{}
	r, err := openAndCatchUp(crashConfig(dir), c)
	if err != nil {
		return err
	}
	next := c.n + 1
	var window []Future
	for {
		for len(window) < 16 {
			window = append(window, r.Propose(entry(next)))
			next++
		}
		_, result, err := window[0].Wait(context.Background())
		if err == nil && result != nil {
			err = result.(error)
		}
		if err != nil {
			return err
		}
		fmt.Println(next - 16)
		window = window[1:]
	}
}

// Killed at any moment, nothing acknowledged is lost and nothing is applied
// twice. REPLICA_CRASHES sets the number of kills.
func TestKill(t *testing.T) {
	cycles := 40
	if v, err := strconv.Atoi(os.Getenv("REPLICA_CRASHES")); err == nil {
		cycles = v
	}
	dir := t.TempDir()
	acked := uint64(0)
	for i := range cycles {
		cmd := child(t, "writer", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(20+rand.IntN(60))*time.Millisecond, func() { cmd.Process.Kill() })
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if n, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				acked = max(acked, n)
			}
		}
		cmd.Wait()
		kill.Stop()
		if s := cmd.Stderr.(*bytes.Buffer).String(); s != "" {
			t.Fatalf("cycle %d: %s", i, s)
		}
		if err := Verify(dir); err != nil && sdk.KindOf(err) != sdk.NotFound {
			t.Fatalf("cycle %d: %v", i, err)
		}
		c := &counter{}
		r, err := openAndCatchUp(crashConfig(dir), c)
		if err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if c.n < acked {
			t.Fatalf("cycle %d: %d were acknowledged, %d are there", i, acked, c.n)
		}
		acked = c.n
	}
	t.Logf("%d kills, %d entries", cycles, acked)
	if acked < uint64(cycles) {
		t.Fatal("the children hardly wrote anything: the test shows nothing")
	}
}

const tmpfsSize = "size=6m"

// childFullDisk runs alone in a mount namespace, which ends with it.
func childFullDisk(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, tmpfsSize); err != nil {
		return err
	}
	cfg := lone(dir) // MinFree of one byte: the disk really runs full
	cfg.Election = 100 * time.Millisecond
	m := &recorder{}
	r, err := openAndCatchUp(cfg, m)
	if err != nil {
		return err
	}
	entry := bytes.Repeat([]byte{7}, 50<<10)
	acked := 0
	for ; err == nil; acked++ {
		_, _, err = r.Propose(entry).Wait(context.Background())
		if acked > 200 {
			return errors.New("the disk never ran full")
		}
	}
	acked--
	if sdk.KindOf(err) != sdk.Exhausted {
		return fmt.Errorf("the fault does not say that the disk is full: %w", err)
	}
	if err := r.Scrub(); err != nil {
		return fmt.Errorf("full: %w", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=32m"); err != nil {
		return err
	}
	for began := time.Now(); ; {
		if _, _, err = r.Propose(entry).Wait(context.Background()); err == nil {
			break
		}
		if time.Since(began) > 20*time.Second {
			return fmt.Errorf("there is space again, but: %w", err)
		}
		select {
		case <-r.Leader():
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := r.Close(); err != nil {
		return err
	}
	if err := Verify(dir); err != nil {
		return err
	}
	m = &recorder{}
	if r, err = openAndCatchUp(cfg, m); err != nil {
		return err
	}
	defer r.Close()
	if n := m.len(); n < acked+1 {
		return fmt.Errorf("%d were acknowledged, %d are there", acked+1, n)
	}
	fmt.Printf("full after %d entries, went on when there was space\n", acked)
	return nil
}

// A full disk is said so, damages nothing, and is got over.
func TestFullDisk(t *testing.T) {
	cmd := child(t, "fulldisk", t.TempDir())
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	out, err := cmd.Output()
	stderr := cmd.Stderr.(*bytes.Buffer).String()
	if errors.Is(err, syscall.EPERM) || strings.Contains(stderr, syscall.EPERM.Error()) {
		t.Skip("may not make a mount namespace: ", err, stderr)
	}
	if err != nil {
		t.Fatal(err, stderr)
	}
	t.Logf("%s", out)
}
