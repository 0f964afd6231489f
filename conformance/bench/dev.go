package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/sdk/client"
)

// program is a running drupe process.
type program struct {
	cmd   *exec.Cmd
	ready time.Duration // until it said so
	env   []string
	said  *strings.Builder // standard error
}

// start runs drupe with its own context and cache folders and waits for a line
// that contains text.
func (r *run) start(env []string, text string, args ...string) (*program, error) {
	p := &program{cmd: exec.Command(r.drupe(), args...), env: env, said: &strings.Builder{}}
	p.cmd.Env, p.cmd.Stderr = env, p.said
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			p.ready = time.Since(begun)
			go func() {
				for lines.Scan() {
				}
			}()
			return p, nil
		}
	}
	p.cmd.Wait()
	return nil, fmt.Errorf("drupe %s ended: %s", args[0], p.said)
}

// end ends it as Ctrl-C does.
func (p *program) end() {
	p.cmd.Process.Signal(syscall.SIGINT)
	stop := time.AfterFunc(30*time.Second, func() { p.cmd.Process.Kill() })
	defer stop.Stop()
	p.cmd.Wait()
}

// environment is that of a user who never used Drupe: contexts and compiled
// plugins in folders of their own.
func (r *run) environment(contexts, cache string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.scratch, "TMPDIR=" + r.scratch,
		"DRUPE_CONFIG=" + filepath.Join(r.scratch, contexts), "DRUPE_CACHE=" + filepath.Join(r.scratch, cache)}
}

// dev runs a development cluster of one agent.
func (r *run) dev(env []string) (*program, error) {
	return r.start(env, "is ready after", "dev", "--agents", "1", "--listen", "127.0.0.1:0", "--as", "bench")
}

// dial returns a client of the cluster whose context is in the environment.
func (p *program) dial() (*client.Client, error) {
	getenv := func(key string) string {
		for _, e := range p.env {
			if k, v, _ := strings.Cut(e, "="); k == key {
				return v
			}
		}
		return ""
	}
	c, err := client.LoadContext(client.Folder(getenv), "bench")
	if err != nil {
		return nil, err
	}
	token, err := client.ReadToken(c.TokenFile)
	if err != nil {
		return nil, err
	}
	return client.New(c.Address, c.CA, token)
}

// timed runs a command and returns how long it took and the CPU time it used,
// with that of what it waited for.
func timed(ctx context.Context, env []string, name string, args ...string) (wall, cpu time.Duration, err error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	// A file and no pipe: what the command leaves running may keep it open.
	said, err := os.CreateTemp("", "drupe-bench-said-")
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	cmd.Stderr = said
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		why, _ := os.ReadFile(said.Name())
		return 0, 0, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, why)
	}
	return time.Since(begun), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}
