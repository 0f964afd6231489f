package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/session"
)

// fullNode is how many idle containers a full node has.
const fullNode = 200

// benchNode measures what a node does for containers, first alone and then
// beside a fullNode of idle ones.
func benchNode(r *run) ([]figure, error) {
	v, err := r.rival("/bin/hello", "-once")
	if err != nil {
		return nil, err
	}
	y, err := r.yard("yard")
	if err != nil {
		return nil, err
	}
	defer y.close()
	one, err := y.idle()
	if err != nil {
		return nil, err
	}
	out, err := y.measure(v, one, "1 container")
	if err != nil {
		return out, err
	}
	many := fullNode
	if r.quick {
		many = fullNode / 4
	}
	memory, err := y.fill(many)
	out = append(out, memory...)
	if err != nil {
		return out, err
	}
	full, err := y.measure(v, one, fmt.Sprintf("%d containers", many))
	return append(out, full...), err
}

// fill starts idle containers and says what they cost.
func (y *yard) fill(n int) ([]figure, error) {
	keeper, free := pss(y.keeper), available()
	for range n - 1 {
		if _, err := y.idle(); err != nil {
			return nil, err
		}
	}
	return []figure{
		{Name: fmt.Sprintf("memory of the keeper with %d idle containers", n), Aim: "≤ 15 MB", Measured: "PSS " + mib(pss(y.keeper)), Method: "/proc"},
		{Name: "memory of the keeper for each idle container", Aim: "≤ 0.1 MB", Measured: mib((pss(y.keeper) - keeper) / int64(n)), Method: "PSS before and after"},
		{Name: "memory of the machine for each idle container", Measured: mib((free - available()) / int64(n)), Method: "MemAvailable before and after; its program (busybox sleep), kernel and cgroups included"},
	}, nil
}

func available() int64 { return kilobytes("/proc/meminfo", "MemAvailable") }

// measure measures starts, programs run inside, and output.
func (y *yard) measure(v *rival, idle sdk.TaskID, beside string) ([]figure, error) {
	n := 25
	if y.r.quick {
		n = 8
	}
	var fork, cold, coldReady, warm, warmReady, plain, inside, created sample
	for i := range n + 1 {
		f, _, err := timed(y.r, nil, filepath.Join(y.layer, "bin/hello"), "-once")
		if err != nil {
			return nil, err
		}
		c, cr, begun, err := y.life(y.spec("/bin/hello", "-once"))
		if err != nil {
			return nil, err
		}
		p, _, err := timed(y.r, nil, v.program, "--root", v.root, "run", "--bundle", v.bundle, fmt.Sprintf("drupe-bench-n%d-%d", os.Getpid(), i))
		if err != nil {
			return nil, err
		}
		s := y.spec("/bin/hello", "-once")
		s.Warm = true
		w, wr, _, err := y.life(s)
		if err != nil {
			return nil, err
		}
		e, err := y.exec(idle, "/bin/busybox", "true")
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first of each fills caches
			fork, plain, inside, created = append(fork, f), append(plain, p), append(inside, e), append(created, begun)
			cold, coldReady, warm, warmReady = append(cold, c), append(coldReady, cr), append(warm, w), append(warmReady, wr)
		}
	}
	with := "; " + beside + " on the node"
	out := []figure{
		{"fork, exec, wait" + with, "", fork.String(), "", "os/exec, in turns with those below"},
		{"container, cold" + with, "≤ 13× fork/exec", cold.String(), ratio(cold.median(), fork.median()) + " fork/exec, " + ratio(cold.median(), plain.median()) + " runc run", "create, start, exit seen, remove"},
		{"plain runc run" + with, "", plain.String(), ratio(plain.median(), fork.median()) + " fork/exec", "the command, built from the module in go.mod"},
		{"container, created ahead" + with, "", created.String(), ratio(created.median(), fork.median()) + " fork/exec", "from start to exit seen"},
		{"container, cold, until it runs" + with, "", coldReady.String(), ratio(coldReady.median(), fork.median()) + " fork/exec", "create and start"},
		{"container, warm, until it runs" + with, "≤ 2.5 ms", warmReady.String(), ratio(warmReady.median(), fork.median()) + " fork/exec", "the same, but an equal one ran before"},
		{"container, warm" + with, "", warm.String(), ratio(warm.median(), fork.median()) + " fork/exec", "as cold, but an equal one ran before"},
		{"exec in a running container" + with, "", inside.String(), ratio(inside.median(), fork.median()) + " fork/exec", "session opened to exit code known"},
	}
	rates, err := y.parallel(2*n, with)
	if err != nil {
		return out, err
	}
	logs, err := y.output(with)
	return append(append(out, rates...), logs...), err
}

// parallel takes many containers through their lives at once.
func (y *yard) parallel(n int, with string) ([]figure, error) {
	var out []figure
	for _, width := range []int{1, 4, 8} {
		var wg sync.WaitGroup
		work, errs := make(chan int), make([]error, width)
		begun := time.Now()
		for i := range width {
			wg.Go(func() {
				for range work {
					if _, _, _, err := y.life(y.spec("/bin/hello", "-once")); err != nil {
						errs[i] = err
					}
				}
			})
		}
		for i := range n {
			work <- i
		}
		close(work)
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return out, err
		}
		out = append(out, figure{Name: fmt.Sprintf("cold starts, %d at a time%s", width, with), Aim: map[bool]string{true: "≥ 60/s"}[width == 8], Measured: perSecond(n, time.Since(begun)), Method: "whole lives"})
	}
	return out, nil
}

// output compares what a container can print with a pipe to this program.
func (y *yard) output(with string) ([]figure, error) {
	megabytes := 256
	if y.r.quick {
		megabytes = 32
	}
	script := fmt.Sprintf("/bin/busybox yes 0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789 | /bin/busybox head -c %d", megabytes<<20)
	s := y.spec("/bin/sh", "-c", script)
	logged, _, _, err := y.life(s)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(y.r, "/bin/busybox", "sh", "-c", script)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, pipe); err != nil {
		return nil, err
	}
	if err := cmd.Wait(); err != nil {
		return nil, err
	}
	piped := time.Since(begun)
	rate := func(d time.Duration) string { return fmt.Sprintf("%.0f MiB/s", float64(megabytes)/d.Seconds()) }
	return []figure{{"log throughput" + with, "", rate(logged) + "; a pipe " + rate(piped), ratio(logged, piped) + " a pipe", fmt.Sprintf("%d MiB in lines of 101 bytes, rotated", megabytes)}}, nil
}

// benchUnpack compares an image made ready with gunzip and a checksum of it.
func benchUnpack(r *run) ([]figure, error) {
	layout := filepath.Join(r.root, "bin", "images", "redis")
	n := 5
	if r.quick {
		n = 2
	}
	var ours, theirs sample
	for i := range n {
		store, err := image.Open(filepath.Join(r.scratch, fmt.Sprint("images-", i)), image.Options{})
		if err != nil {
			return nil, err
		}
		begun := time.Now()
		if _, err := store.Resolve(r, "oci:"+layout); err != nil {
			return nil, err
		}
		ours = append(ours, time.Since(begun))
		script := fmt.Sprintf("for f in %s/blobs/sha256/*; do gunzip -c $f 2>/dev/null | sha256sum; done", layout)
		w, _, err := timed(r, nil, "sh", "-c", script)
		if err != nil {
			return nil, err
		}
		theirs = append(theirs, w)
	}
	return []figure{{"image of redis made ready", "close to gunzip", ours.String(), ratio(ours.median(), theirs.median()) + " gunzip and sha256sum", "layout folder to unpacked layers on disk, digests checked; in turns with the other"}}, nil
}

// ok reports what a session ended with.
func ok(body []byte) error {
	var r session.Result
	if err := json.Unmarshal(body, &r); err != nil {
		return err
	}
	if r.Error != nil {
		return r.Error
	}
	if r.Code != 0 {
		return fmt.Errorf("exit code %d", r.Code)
	}
	return nil
}
