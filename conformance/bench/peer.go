package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/kernel"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
	"github.com/drupe-os/drupe/sdk/policy"
)

// peer is a server process as this one sees it.
type peer struct {
	hello
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	*client.Client
}

// startPeer starts a server with so many nodes on a data folder.
func (r *run) startPeer(data string, nodes int) (*peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, serverArgument, "-data", data, "-nodes", strconv.Itoa(nodes))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p := &peer{cmd: cmd}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	if err := p.out.Decode(&p.hello); err != nil {
		p.end()
		return nil, fmt.Errorf("the server did not start: %w", err)
	}
	if p.Client, err = client.New(p.hello.Address, p.CA, p.Token); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// do gives an order and waits for the answer.
func (p *peer) do(o order) (answer, error) {
	b, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	if _, err := p.in.Write(append(b, '\n')); err != nil {
		return answer{}, err
	}
	var a answer
	if err := p.out.Decode(&a); err != nil {
		return a, fmt.Errorf("the server gave no answer to %q: %w", o.Do, err)
	}
	if a.Error != "" {
		return a, fmt.Errorf("%s: %s", o.Do, a.Error)
	}
	return a, nil
}

// within is do with a bound on the time: a server that does not get there is
// killed.
func (p *peer) within(ctx context.Context, d time.Duration, o order) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() })
	defer stop()
	a, err := p.do(o)
	if ctx.Err() != nil {
		return a, fmt.Errorf("not within %s", d)
	}
	return a, err
}

// settled waits until nothing more is committed, and returns the state's hash.
func (p *peer) settled() (answer, error) {
	last, err := p.do(order{Do: "hash"})
	for err == nil {
		time.Sleep(500 * time.Millisecond)
		var a answer
		if a, err = p.do(order{Do: "hash"}); err == nil && a.Index == last.Index {
			return a, nil
		}
		last = a
	}
	return last, err
}

// end ends the server.
func (p *peer) end() {
	if p.Client != nil {
		p.Close()
	}
	p.in.Close()
	stop := time.AfterFunc(20*time.Second, func() { p.cmd.Process.Kill() })
	p.cmd.Wait()
	stop.Stop()
}

// kill ends it as a power cut would.
func (p *peer) kill() {
	p.cmd.Process.Kill()
	p.end()
}

// service is a document that wants so many small instances.
func service(name, role string, instances int) sdk.DocumentInput {
	body := fmt.Sprintf(`{"instances":%d,"resources":{"cpus":0.1,"mem":67108864},"run":{"container":{"image":"oci:/images/app","args":["/bin/app","-v"]}},"env":{"MODE":"bench"},"role":%q}`,
		instances, role)
	return sdk.DocumentInput{Kind: "service", Name: name, Body: sdk.RawJSON(body)}
}

// watchedPolicy notes each call.
type watchedPolicy struct {
	kernel.Policy
	store *watchedStore
	name  sdk.PluginName
}

func (p *watchedPolicy) Allocate(ctx context.Context, b *policy.Batch, ix policy.Index) error {
	begin := time.Now()
	err := p.Policy.Allocate(ctx, b, ix)
	p.store.mu.Lock()
	p.store.rounds = append(p.store.rounds, round{p.name, begin, time.Now()})
	p.store.mu.Unlock()
	return err
}

// folder makes a folder in the scratch space.
func (r *run) folder(name string) (string, error) {
	dir := filepath.Join(r.scratch, name)
	return dir, os.MkdirAll(dir, 0o700)
}
