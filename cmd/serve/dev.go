package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/drupe-os/drupe/cmd/cli"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
)

// Dev runs a whole cluster in this process until ctx is done. It is cli.RunDev.
func Dev(ctx context.Context, o cli.DevOptions, st cli.Streams) (err error) {
	log := logger(st.Err, st.Getenv)
	begin := time.Now()
	data, keep := o.Data, o.Data != ""
	if keep {
		data, err = filepath.Abs(data)
	} else {
		data, err = os.MkdirTemp("", "drupe-dev-")
	}
	if err != nil {
		return err
	}
	if !keep {
		home, err := startBroom(data, client.Folder(st.Getenv), o.Context)
		if err != nil {
			return err
		}
		defer home()
		defer os.RemoveAll(data)
	}
	go keeper() // unpacked while the server starts
	s, err := startServer(ctx, serverConfig{Data: filepath.Join(data, "server"), Listen: o.Listen, Agents: "127.0.0.1:0",
		Name: "dev", Cache: cacheDir(st.Getenv, data), Plugins: o.Plugins, Log: log})
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.introduce(st.Getenv, o.Context); err != nil {
		return err
	}
	if !keep {
		defer client.RemoveContext(client.Folder(st.Getenv), o.Context)
	}
	token, err := s.authority.NewJoin(time.Hour, true)
	if err != nil {
		return err
	}
	d := &dev{ctx: ctx}
	defer d.end()
	for i := range o.Agents {
		n, err := startAgent(ctx, agentConfig{Data: filepath.Join(data, fmt.Sprintf("n%d", i+1)), Name: fmt.Sprintf("n%d", i+1),
			Servers: []string{s.address}, Token: token, Address: "127.0.0.1", Share: i, Of: o.Agents, Grants: o.Grants, DieWith: true, Log: log})
		if err != nil {
			return err
		}
		d.run(n)
	}
	if err := d.connected(s, o.Agents); err != nil {
		return err
	}
	st.Printf("drupe dev is ready after %s: a server and %s, at %s\n", time.Since(begin).Round(time.Millisecond), agents(o.Agents), s.address)
	st.Printf("context %q is set; try, in another terminal:\n  drupe apply -f examples/hello\n  drupe ps\n  drupe node ls\n", o.Context)
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.failed():
		return err
	}
}

func agents(n int) string {
	if n == 1 {
		return "1 agent"
	}
	return fmt.Sprintf("%d agents", n)
}

// dev is the agents of a development cluster.
type dev struct {
	ctx    context.Context
	cancel []context.CancelFunc
	nodes  []*node
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   chan error
}

func (d *dev) failed() chan error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.errs == nil {
		d.errs = make(chan error, 100)
	}
	return d.errs
}

// run runs an agent.
func (d *dev) run(n *node) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(d.ctx))
	d.cancel = append(d.cancel, cancel)
	d.nodes = append(d.nodes, n)
	d.wg.Go(func() {
		if err := n.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			d.failed() <- err
		}
	})
}

// connected waits until all agents are nodes.
func (d *dev) connected(s *server, want int) error {
	ctx, cancel := context.WithTimeout(d.ctx, 30*time.Second)
	defer cancel()
	events, err := s.kernel.Subscribe(ctx, sdk.Position{})
	if err != nil {
		return err
	}
	for s.kernel.Summary().Nodes.Up < int64(want) {
		select {
		case err := <-d.failed():
			return err
		case _, ok := <-events:
			if !ok {
				return sdk.Errorf(sdk.Timeout, "agents", "not all connected in time")
			}
		}
	}
	return nil
}

// end ends the agents and all they run: a development cluster leaves nothing.
func (d *dev) end() {
	for _, c := range d.cancel {
		c()
	}
	d.wg.Wait()
	var wg sync.WaitGroup
	for _, n := range d.nodes {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			n.runtime.Shutdown(ctx)
		})
	}
	wg.Wait()
}
