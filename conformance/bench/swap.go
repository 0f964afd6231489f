package main

import (
	"fmt"
	"os"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// benchSwap changes the scheduling policy while documents keep coming, and looks
// at when each policy was called last and first.
func benchSwap(r *run) ([]figure, error) {
	nodes, documents := 50_000, 300
	if r.quick {
		nodes, documents = 5_000, 150
	}
	data, err := r.folder("swap")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(data)
	p, err := r.startPeer(data, nodes)
	if err != nil {
		return nil, err
	}
	defer p.end()
	load := demandLoad{nodes: nodes, documents: documents, instances: 10, senders: 4}
	sent := make(chan error, 1)
	go func() { sent <- r.send(p, load) }()
	var asked sample
	for _, name := range []sdk.PluginName{"binpack", "drf", "binpack", "drf", "binpack"} {
		if _, err := p.within(r, time.Minute, order{Do: "await", Tasks: int64(load.tasks()) * int64(len(asked)+1) / 8}); err != nil {
			return nil, err
		}
		begun := time.Now()
		if _, err := p.UsePolicy(r, name); err != nil {
			return nil, err
		}
		asked = append(asked, time.Since(begun))
	}
	if err := <-sent; err != nil {
		return nil, err
	}
	if _, err := p.within(r, time.Minute, order{Do: "await", Tasks: int64(load.tasks())}); err != nil {
		return nil, err
	}
	v, err := p.Cluster(r)
	if err != nil {
		return nil, err
	}
	a, err := p.do(order{Do: "rounds"})
	if err != nil {
		return nil, err
	}
	var same, across, call sample
	for i := 1; i < len(a.Rounds); i++ {
		gap := a.Rounds[i].Begin.Sub(a.Rounds[i-1].End)
		if a.Rounds[i].Policy != a.Rounds[i-1].Policy {
			across = append(across, gap)
		} else {
			same = append(same, gap)
		}
		call = append(call, a.Rounds[i].End.Sub(a.Rounds[i].Begin))
	}
	if len(across) == 0 {
		return nil, fmt.Errorf("no round followed a swap")
	}
	lost := int64(load.tasks()) - v.Tasks - v.Waiting
	return []figure{
		{
			Name: fmt.Sprintf("last round of the old policy to first of the new, %s nodes, under load", thousands(nodes)),
			Aim:  "≤ 0.5 ms critical section, nothing lost", Measured: fmt.Sprintf("%s; %d tasks lost", across, lost),
			Ratio: ratio(across.median(), same.median()), Method: "rounds timed in the server; ratio to the gap between rounds of one policy (" + ms(same.median()) + " median), which holds a commit and the framework's call",
		},
		{
			Name: "policy use, as asked by a person", Measured: asked.String(), Method: "POST /v1/policy/use under the same load; warms the policy up first",
		},
		{
			Name: "one call of a policy under that load", Measured: call.String(), Method: "some tens of tasks each",
		},
	}, nil
}
