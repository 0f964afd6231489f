package cli

import (
	"bufio"
	"context"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk"
)

// interrupt runs a command in this process against f and presses Ctrl-C when
// step says so for a line of its output. It returns exit code and output.
func interrupt(t *testing.T, args []string, prepare func(f *fake), step func(f *fake, line string) bool) (int, string) {
	t.Helper()
	dir := t.TempDir()
	f, stop, err := cluster(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	prepare(f)
	r, w := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		exit <- Main(args, strings.NewReader(""), w, w, []string{"DRUPE_CONFIG=" + filepath.Join(dir, ".config")})
		w.Close()
	}()
	hung := time.AfterFunc(20*time.Second, func() { r.CloseWithError(io.ErrNoProgress) })
	defer hung.Stop()
	var said strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if step(f, lines.Text()) {
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case code := <-exit:
		return code, said.String()
	case <-time.After(20 * time.Second):
		t.Fatalf("it did not end; it said\n%s", said.String())
	}
	return 0, ""
}

// Ctrl-C ends the waiting only, and says how to take it up again.
func TestInterruptedWaitDetaches(t *testing.T) {
	code, out := interrupt(t, []string{"wait", "slow"}, func(f *fake) {
		ref := sdk.Ref{Kind: "service", Name: "slow"}
		f.docs[ref] = &sdk.Document{Ref: ref, Version: 1}
		f.unready = []sdk.Ref{ref}
	}, func(_ *fake, line string) bool { return strings.Contains(line, "deploying") })
	if code != ExitInterrupted || !strings.Contains(out, "drupe wait service/slow --for ready") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// Following takes in tasks that are launched later.
func TestFollowedLogsTakeInNewTasks(t *testing.T) {
	ref := sdk.Ref{Kind: "service", Name: "hello"}
	scaled := false
	code, out := interrupt(t, []string{"logs", "-f", "hello"}, func(f *fake) {
		f.docs[ref] = &sdk.Document{Ref: ref, Version: 1, Body: sdk.RawJSON(`{"instances":1}`)}
		f.unready = []sdk.Ref{ref}
	}, func(f *fake, line string) bool {
		if line == "hello.1 | end" && !scaled {
			scaled = true
			if _, err := f.Scale(context.Background(), "alice", ref, 2); err != nil {
				t.Error(err)
			}
			f.ListTasks(gate.TaskFilter{}) // lets the cluster get on
		}
		return line == "hello.2 | end"
	})
	if code != ExitInterrupted || strings.Count(out, "hello.1 | begin") != 1 || strings.Count(out, "hello.2 | begin") != 1 {
		t.Errorf("exit code %d\n%s", code, out)
	}
}
