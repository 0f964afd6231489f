package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// steps takes all steps. The error of one that failed begins with its name.
func (d *demo) steps(ctx context.Context) error {
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"Run an app: three containers, counted and isolated", d.apply},
		{"One of them answers", d.request},
		{"Kill a container's process; it is replaced", d.kill},
		{"Swap the scheduling policy while requests flow", d.swap},
		{"Ask why something does not run", d.why},
	} {
		d.out.step(s.name + ".")
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("step %d, %q: %w", d.out.n, s.name, err)
		}
	}
	return nil
}

func (d *demo) apply(ctx context.Context) error {
	if err := d.try(ctx, "apply", "-f", filepath.Join(d.examples, "hello"), "--wait=1m"); err != nil {
		return err
	}
	if err := d.try(ctx, "ps"); err != nil {
		return err
	}
	tasks, err := d.tasks(ctx)
	if err == nil && len(healthy(tasks)) != 3 {
		err = fmt.Errorf("%d of 3 are healthy", len(healthy(tasks)))
	}
	return err
}

func (d *demo) request(ctx context.Context) error {
	tasks, err := d.tasks(ctx)
	if err != nil {
		return err
	}
	at := addresses(tasks)
	if len(at) == 0 {
		return errors.New("no task has a port")
	}
	d.out.command("curl", at[0])
	text, err := get(http.DefaultClient, at[0])
	if err != nil {
		return err
	}
	d.out.note(text)
	return nil
}

// kill ends a container from outside, as a crash would.
func (d *demo) kill(ctx context.Context) error {
	tasks, err := d.tasks(ctx)
	if err != nil {
		return err
	}
	if len(tasks) == 0 || tasks[0].Status.PID == 0 {
		return errors.New("no task with a process is known")
	}
	victim, before := tasks[0], map[sdk.TaskID]bool{}
	for _, t := range tasks {
		before[t.ID] = true
	}
	d.out.command("kill", "-9", strconv.Itoa(int(victim.Status.PID)), "   #", string(victim.ID))
	if err := syscall.Kill(int(victim.Status.PID), syscall.SIGKILL); err != nil {
		return err
	}
	begin := time.Now()
	err = d.until(ctx, "a replacement of "+string(victim.ID), func(tasks []sdk.TaskView) bool {
		well := healthy(tasks)
		for _, t := range well {
			if t.ID == victim.ID {
				return false
			}
		}
		return len(well) == len(before)
	})
	if err != nil {
		return err
	}
	d.out.note(fmt.Sprintf("replaced, and healthy, after %s", time.Since(begin).Round(10*time.Millisecond)))
	return d.try(ctx, "show", "hello")
}

// swap changes the policy back and forth, and more instances come, while
// requests are sent without a break.
func (d *demo) swap(ctx context.Context) error {
	tasks, err := d.tasks(ctx)
	if err != nil {
		return err
	}
	flow := startTraffic(ctx, addresses(tasks))
	defer flow.end()
	d.out.note("Requests flow to all instances from here on.")
	for _, command := range [][]string{
		{"policy", "use", "binpack"},
		{"scale", "hello", "6"},
		{"wait", "hello", "--for", "healthy", "--timeout", "1m"},
		{"ps", "hello"},
	} {
		if err := d.try(ctx, command...); err != nil {
			return err
		}
	}
	more, err := d.tasks(ctx)
	if err != nil {
		return err
	}
	to := addresses(more)
	flow.targets.Store(&to)
	fresh, nodes := added(tasks, more)
	if fresh != 3 || len(nodes) >= fresh {
		return fmt.Errorf("3 new instances were to be packed; there are %d on %d nodes", fresh, len(nodes))
	}
	d.out.note("binpack fills a node before it takes another; the default, drf, had spread them.")
	if err := d.try(ctx, "policy", "undo"); err != nil {
		return err
	}
	sent, failed, last := flow.end()
	d.out.note(fmt.Sprintf("%d requests, %d failed", sent, failed))
	switch {
	case failed > 0:
		return fmt.Errorf("%d of %d requests failed, the last with: %w", failed, sent, last)
	case sent == 0:
		return errors.New("no request was sent")
	}
	return nil
}

func (d *demo) why(ctx context.Context) error {
	if err := d.try(ctx, "apply", "-f", filepath.Join(d.examples, "unplaceable")); err != nil {
		return err
	}
	if err := d.try(ctx, "why", "giant"); err != nil {
		return err
	}
	var why sdk.Why
	if err := d.ask(ctx, &why, "why", "giant"); err != nil {
		return err
	}
	if len(why.Demands) == 0 || why.Demands[0].Reason != sdk.ReasonCPUs {
		return errors.New("the explanation does not name the cpus that are lacking")
	}
	return nil
}

// tasks returns the live tasks of hello.
func (d *demo) tasks(ctx context.Context) ([]sdk.TaskView, error) {
	var r struct {
		Tasks []sdk.TaskView `json:"tasks"`
	}
	err := d.ask(ctx, &r, "ps", "hello")
	return r.Tasks, err
}

// until looks again and again until the tasks are as they should be.
func (d *demo) until(ctx context.Context, what string, ok func([]sdk.TaskView) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, fmt.Errorf("waited 30s for %s", what))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		tasks, err := d.tasks(ctx)
		if err == nil && ok(tasks) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func healthy(tasks []sdk.TaskView) (well []sdk.TaskView) {
	for _, t := range tasks {
		if t.Status.State == sdk.Running && t.Status.Health == sdk.Healthy {
			well = append(well, t)
		}
	}
	return well
}

// addresses are where the tasks answer.
func addresses(tasks []sdk.TaskView) (urls []string) {
	for _, t := range tasks {
		for _, p := range t.Ports {
			urls = append(urls, fmt.Sprintf("http://%s:%d/", t.Address, p.Port))
		}
	}
	return urls
}

// added counts the tasks that came, and the nodes they came to.
func added(before, after []sdk.TaskView) (n int, nodes map[string]bool) {
	old := map[sdk.TaskID]bool{}
	for _, t := range before {
		old[t.ID] = true
	}
	nodes = map[string]bool{}
	for _, t := range after {
		if !old[t.ID] {
			n++
			nodes[t.NodeName] = true
		}
	}
	return n, nodes
}
