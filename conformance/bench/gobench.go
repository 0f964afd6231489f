package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// gobench runs benchmarks of a package as `go test` does and returns what they
// report: by benchmark, by unit.
func (r *run) gobench(pkg, pattern, benchtime string) (map[string]map[string]float64, error) {
	cmd := exec.CommandContext(r, "go", "test", "./"+pkg, "-run", "^$", "-bench", pattern, "-benchtime", benchtime, "-benchmem")
	cmd.Dir, cmd.Stderr = r.root, os.Stderr
	b, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go test %s: %w: %s", pkg, err, b)
	}
	out := map[string]map[string]float64{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		name, ok := "", len(fields) > 2
		if ok {
			name, ok = strings.CutPrefix(fields[0], "Benchmark")
		}
		if !ok {
			continue
		}
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			name = name[:i] // less the number of processors
		}
		units := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				units[fields[i+1]] = v
			}
		}
		out[name] = units
	}
	return out, nil
}

// benchCUE is what checking costs where documents are written and where they
// arrive.
func benchCUE(r *run) ([]figure, error) {
	times := "100x"
	if r.quick {
		times = "20x"
	}
	got, err := r.gobench("cue/load", "^Benchmark(Vet|Source|Check|Decode)$", times)
	if err != nil {
		return nil, err
	}
	line := func(what, bench, aim string) figure {
		u := got[bench]
		return figure{Name: what, Aim: aim,
			Measured: fmt.Sprintf("%s wall, %s CPU", ms(time.Duration(u["ns/op"])), ms(time.Duration(u["cpu-µs/op"]*1e3))),
			Method:   "go test ./cue/load -bench " + bench}
	}
	return []figure{
		line("CUE: 50-line service, cold (schema compiled first)", "Vet", ""),
		line("CUE: 50-line service, in a process that runs", "Source", "≤ 1.0 ms"),
		line("its canonical JSON against the schema", "Check", "≤ 40 µs"),
		line("its canonical JSON decoded strictly, without CUE", "Decode", ""),
	}, nil
}

// benchLog is the replicated log by itself.
func benchLog(r *run) ([]figure, error) {
	times := "3000x"
	if r.quick {
		times = "500x"
	}
	got, err := r.gobench("kernel/replica", "^BenchmarkPropose$", times)
	if err != nil {
		return nil, err
	}
	var out []figure
	for _, size := range []int{100, 32 << 10} {
		for _, inFlight := range []int{1, 64} {
			u := got[fmt.Sprintf("Propose/bytes=%d/inflight=%d", size, inFlight)]
			out = append(out, figure{
				Name:     fmt.Sprintf("log: entries of %s bytes, %d in flight", thousands(size), inFlight),
				Measured: fmt.Sprintf("%.0f entries/s", u["entries/s"]),
				Method:   "go test ./kernel/replica -bench Propose: raft, bbolt, fsync, one server",
			})
		}
	}
	fsync, err := r.fsync()
	if err != nil {
		return out, err
	}
	return append(out, figure{Name: "write and fsync of 4 KiB on the same disk", Measured: fsync.String(), Method: "the floor under one entry at a time"}), nil
}

// fsync measures the disk.
func (r *run) fsync() (sample, error) {
	f, err := os.Create(filepath.Join(r.scratch, "fsync"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var s sample
	block := make([]byte, 4096)
	for range 200 {
		begun := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		s = append(s, time.Since(begun))
	}
	return s, nil
}
