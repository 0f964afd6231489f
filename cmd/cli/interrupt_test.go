package cli

import (
	"bufio"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Ctrl-C ends the waiting only, and says how to take it up again.
func TestInterruptedWaitDetaches(t *testing.T) {
	dir := t.TempDir()
	f, stop, err := cluster(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ref := sdk.Ref{Kind: "service", Name: "slow"}
	f.docs[ref] = &sdk.Document{Ref: ref, Version: 1}
	f.unready = []sdk.Ref{ref}

	r, w := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		exit <- Main([]string{"wait", "slow"}, strings.NewReader(""), io.Discard, w, []string{"DRUPE_CONFIG=" + filepath.Join(dir, ".config")})
		w.Close()
	}()
	var said []string
	for lines := bufio.NewScanner(r); lines.Scan(); {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), "deploying") { // it waits now
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	select {
	case code := <-exit:
		if all := strings.Join(said, "\n"); code != ExitInterrupted || !strings.Contains(all, "drupe wait service/slow --for ready") {
			t.Errorf("exit code %d\n%s", code, all)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it did not end")
	}
}
