package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	runtimes "github.com/drupe-os/drupe/isolation/runc"
)

// rest is how long processes are left alone before their memory is read.
const rest = 5 * time.Second

// benchIdle measures what Drupe takes up when nothing is asked of it, and how
// long it takes to be there.
func benchIdle(r *run) ([]figure, error) {
	out, err := r.sizes()
	if err != nil {
		return out, err
	}
	ready, err := r.ready()
	if err != nil {
		return out, err
	}
	return append(out, ready...), nil
}

// sizes runs server and agent as processes of their own.
func (r *run) sizes() (_ []figure, err error) {
	env := r.environment("idle", "cache")
	data, node := filepath.Join(r.scratch, "idle-server"), filepath.Join(r.scratch, "idle-node")
	args := []string{"server", "--data", data, "--listen", "127.0.0.1:0", "--agents", "127.0.0.1:0", "--as", "bench"}
	first, err := r.start(env, "nodes join with", args...)
	if err != nil {
		return nil, err
	}
	time.Sleep(rest)
	compiled := figure{Name: "server whose first start has just compiled the plugins", Method: "/proc, " + rest.String() + " after start",
		Measured: fmt.Sprintf("RSS %s, PSS %s", mib(status(first.cmd.Process.Pid, "VmRSS")), mib(pss(first.cmd.Process.Pid)))}
	first.end()
	server, err := r.start(env, "nodes join with", args...)
	if err != nil {
		return nil, err
	}
	defer server.end()
	c, err := server.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer r.endKeeper(filepath.Join(node, "keeper"))
	agent, err := r.start(env, "node runs", "agent", "--data", node, "--name", "idle", "--server", strings.TrimPrefix(c.Address(), "https://"),
		"--join-token", filepath.Join(data, "join.token"))
	if err != nil {
		return nil, err
	}
	defer agent.end()
	for v, err := c.Cluster(r); v.Nodes.Up == 0; v, err = c.Cluster(r) {
		if err != nil {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(rest)
	keeper := keeperOf(filepath.Join(node, "keeper"))
	var sum, shared int64
	line := func(name string, pid int) figure {
		rss, own := status(pid, "VmRSS"), pss(pid)
		sum, shared = sum+rss, shared+own
		return figure{Name: "idle " + name, Measured: fmt.Sprintf("RSS %s, PSS %s", mib(rss), mib(own)), Method: "/proc, " + rest.String() + " after start"}
	}
	out := []figure{line("server", server.cmd.Process.Pid), line("agent", agent.cmd.Process.Pid), line("keeper", keeper)}
	out = append(out, figure{Name: "idle server, agent and keeper together", Aim: "≤ 40 MB", Measured: fmt.Sprintf("RSS %s, PSS %s", mib(sum), mib(shared)),
		Method: "PSS shares the program's pages between server and agent"}, compiled)
	commands, err := r.commands(env)
	if err != nil {
		return out, err
	}
	return append(out, commands...), nil
}

// endKeeper ends a keeper that outlived its agent.
func (r *run) endKeeper(state string) {
	program, err := os.ReadFile(filepath.Join(r.root, "bin", "drupe-keeper"))
	if err != nil || keeperOf(state) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if rt, err := runtimes.Open(ctx, runtimes.Config{StateDir: state, Keeper: program}); err == nil {
		rt.Shutdown(ctx)
	}
}

// commands measures the command line.
func (r *run) commands(env []string) ([]figure, error) {
	var out []figure
	for _, args := range [][]string{{"version"}, {"ps"}} {
		var s, cpu sample
		for range 20 {
			wall, used, err := timed(r, env, r.drupe(), args...)
			if err != nil {
				return out, err
			}
			s, cpu = append(s, wall), append(cpu, used)
		}
		out = append(out, figure{Name: "drupe " + strings.Join(args, " "), Aim: "≤ 10 ms", Measured: fmt.Sprintf("%s; CPU median %s", s, ms(cpu.median())), Method: "fork to exit, 20 times"})
	}
	info, err := os.Stat(r.drupe())
	if err != nil {
		return out, err
	}
	return append(out, figure{Name: "bin/drupe", Aim: "≤ 35 MB", Measured: fmt.Sprintf("%.1f MB", float64(info.Size())/1e6), Method: "keeper and plugins inside, compressed"}), nil
}

// ready measures how long a development cluster takes to be there.
func (r *run) ready() ([]figure, error) {
	times, cold := 7, 2
	if r.quick {
		times, cold = 3, 1
	}
	measure := func(n int, fresh bool) (s sample, err error) {
		for i := range n {
			cache := "cache"
			if fresh {
				cache = fmt.Sprint("cache-", i)
			}
			d, err := r.dev(r.environment("ready", cache))
			if err != nil {
				return nil, err
			}
			s = append(s, d.ready)
			d.end()
		}
		return s, nil
	}
	if _, err := measure(1, false); err != nil { // fills the cache
		return nil, err
	}
	warm, err := measure(times, false)
	if err != nil {
		return nil, err
	}
	first, err := measure(cold, true)
	if err != nil {
		return nil, err
	}
	return []figure{
		{Name: "drupe dev --agents 1: start to ready, plugins compiled before", Aim: "≤ 150 ms", Measured: warm.String(), Method: "fork to the line that says so"},
		{Name: "drupe dev --agents 1: the first time on a machine", Measured: first.String(), Method: "the same with an empty cache of compiled plugins"},
	}, nil
}
