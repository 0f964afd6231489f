package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
	"github.com/drupe-os/drupe/sdk/oci"
)

// benchSubmit takes one container from a person's request to running, on a
// development cluster, and runs the same program with plain runc in turns.
func benchSubmit(r *run) ([]figure, error) {
	n := 20
	if r.quick {
		n = 7
	}
	v, err := r.rival("/bin/hello")
	if err != nil {
		return nil, err
	}
	layer, err := r.hello()
	if err != nil {
		return nil, err
	}
	image := filepath.Join(r.scratch, "image")
	if _, err := oci.Build(image, "latest", oci.Spec{Files: []oci.File{{Path: "/bin/hello", Source: filepath.Join(layer, "bin/hello")}},
		Config: oci.Config{Entrypoint: []string{"/bin/hello"}}, Platform: oci.Platform{OS: "linux", Architecture: architecture}}); err != nil {
		return nil, err
	}
	d, err := r.dev(r.environment("submit", "cache"))
	if err != nil {
		return nil, err
	}
	defer d.end()
	c, err := d.dial()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var placed, running, plain sample
	for i := range n + 1 { // the first unpacks the image
		p, ran, err := submit(r, c, image, fmt.Sprintf("one-%d", i))
		if err != nil {
			return nil, err
		}
		id := fmt.Sprintf("drupe-bench-%d-%d", os.Getpid(), i)
		took, _, err := timed(r, nil, v.program, "--root", v.root, "run", "--detach", "--bundle", v.bundle, id)
		// Also after a failure, and when interrupted: nothing may be left.
		_, _, gone := timed(context.WithoutCancel(r), nil, v.program, "--root", v.root, "delete", "--force", id)
		if err := errors.Join(err, gone); err != nil {
			return nil, err
		}
		if i > 0 {
			placed, running, plain = append(placed, p), append(running, ran), append(plain, took)
		}
	}
	return []figure{
		{"submit → placed, one container", "≤ 5 ms", placed.String(), "", "PUT until the event task.launched is read, drupe dev with one agent"},
		{"submit → running, one container", "≤ 1.5× runc run", running.String(), ratio(running.median(), plain.median()), "PUT until the event that it runs is read; image unpacked before"},
		{"plain runc run --detach of the same root", "", plain.String(), "", "runc of go.mod; same program, limits and host network; in turns with the above"},
	}, nil
}

// submit applies a service of one instance, waits until it runs, and removes it.
func submit(ctx context.Context, c *client.Client, image, name string) (placed, running time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ref := sdk.Ref{Kind: "service", Name: name}
	_, index, err := c.Nodes(ctx)
	if err != nil {
		return 0, 0, err
	}
	after := sdk.EndOf(index)
	type seen struct {
		event sdk.Event
		at    time.Time
		err   error
	}
	events := make(chan seen, 64)
	go func() {
		for e, err := range c.Events(ctx, client.Watch{After: &after, Ref: ref, Kind: "task"}) {
			events <- seen{e, time.Now(), err}
		}
	}()
	body := fmt.Sprintf(`{"instances":1,"resources":{"cpus":0.1,"mem":33554432},"run":{"container":{"image":"oci:%s"}},"env":{"PORT_HTTP":"0"}}`, image)
	begun := time.Now()
	if _, err := c.Apply(ctx, sdk.ApplyRequest{Documents: []sdk.DocumentInput{{Kind: ref.Kind, Name: name, Body: sdk.RawJSON(body)}}}, false); err != nil {
		return 0, 0, err
	}
	for {
		s := <-events
		switch {
		case s.err != nil:
			return 0, 0, s.err
		case s.event.Kind == sdk.EventTaskLaunched:
			placed = s.at.Sub(begun)
		case s.event.Task.Status.State == sdk.Running && running == 0:
			running = s.at.Sub(begun)
			if err := c.Remove(ctx, ref); err != nil {
				return 0, 0, err
			}
		case s.event.Task.Status.State.Terminal() && running == 0:
			return 0, 0, fmt.Errorf("%s: %s", s.event.Task.ID, s.event.Task.Status.Message)
		case s.event.Task.Status.State.Terminal():
			return placed, running, nil
		}
	}
}
