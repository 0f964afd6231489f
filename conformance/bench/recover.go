package main

import (
	"fmt"
	"os"
	"time"
)

// benchRecover kills a server with tasks on it and starts it again on the same
// folder.
func benchRecover(r *run) ([]figure, error) {
	loads := []demandLoad{{5_000, 100, 100, 16}, {5_000, 100, 1_000, 16}}
	if r.quick {
		loads = loads[:1]
	}
	var out []figure
	for _, l := range loads {
		f, err := r.recoverOnce(l)
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}
	return out, nil
}

func (r *run) recoverOnce(l demandLoad) (figure, error) {
	data, err := r.folder(fmt.Sprintf("recover-%d", l.tasks()))
	if err != nil {
		return figure{}, err
	}
	defer os.RemoveAll(data)
	p, err := r.startPeer(data, l.nodes)
	if err != nil {
		return figure{}, err
	}
	if err := r.send(p, l); err != nil {
		p.end()
		return figure{}, err
	}
	if _, err := p.within(r, 2*time.Minute, order{Do: "await", Tasks: int64(l.tasks())}); err != nil {
		p.end()
		return figure{}, err
	}
	before, err := p.settled()
	p.kill()
	if err != nil {
		return figure{}, err
	}
	begun := time.Now()
	again, err := r.startPeer(data, 0)
	if err != nil {
		return figure{}, err
	}
	whole := time.Since(begun)
	defer again.end()
	after, err := again.do(order{Do: "hash"})
	if err != nil {
		return figure{}, err
	}
	same := "state hash equal"
	if before.Hash != after.Hash {
		same = fmt.Sprintf("state hash differs (index %d, then %d)", before.Index, after.Index)
	}
	return figure{
		Name: fmt.Sprintf("kill -9 with %s tasks on %s nodes → ready", thousands(l.tasks()), thousands(l.nodes)), Aim: "≤ 1 s",
		Measured: fmt.Sprintf("%s in the process, %s with its start; %s", ms(again.hello.Ready), ms(whole), same),
		Method:   "snapshot and log read, plugins loaded, leading; hash before the kill against hash after",
	}, nil
}
