package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Metrics implements gate.Needs: what the cluster is, in Prometheus' text
// format.
func (k *Kernel) Metrics(w io.Writer) {
	v := k.Summary()
	gauge := func(name, help, labels string, value int64) {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s gauge\n%s%s %d\n", name, help, name, name, labels, value)
	}
	gauge("drupe_log_index", "Index of the newest entry applied.", "", int64(v.Index))
	gauge("drupe_documents", "Documents declared.", "", v.Documents)
	gauge("drupe_tasks", "Tasks that have not ended.", "", v.Tasks)
	gauge("drupe_instances_waiting", "Instances wanted and not placed.", "", v.Waiting)
	fmt.Fprintf(w, "# HELP drupe_nodes Nodes by liveness.\n# TYPE drupe_nodes gauge\n")
	fmt.Fprintf(w, "drupe_nodes{liveness=\"up\"} %d\ndrupe_nodes{liveness=\"unreachable\"} %d\ndrupe_nodes{liveness=\"gone\"} %d\n",
		v.Nodes.Up, v.Nodes.Unreachable, v.Nodes.Gone)
	nodes, _ := k.ListNodes()
	usageMetrics(w, nodes)
	plugins, _ := k.ListPlugins()
	fmt.Fprintf(w, "# HELP drupe_plugin_calls_total Calls of a plugin since this server started.\n# TYPE drupe_plugin_calls_total counter\n")
	for _, p := range plugins {
		fmt.Fprintf(w, "drupe_plugin_calls_total{plugin=%q} %d\n", p.Manifest.Name, p.Calls)
	}
	fmt.Fprintf(w, "# HELP drupe_plugin_rejected_total Calls whose outcome was refused, since the plugin was installed.\n# TYPE drupe_plugin_rejected_total counter\n")
	for _, p := range plugins {
		fmt.Fprintf(w, "drupe_plugin_rejected_total{plugin=%q} %d\n", p.Manifest.Name, p.Rejected)
	}
}

// AwaitReady returns when the server leads and has applied its log.
func (k *Kernel) AwaitReady(ctx context.Context) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := k.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err() // nobody waits any more
			}
			return err
		case <-tick.C:
		}
	}
}
