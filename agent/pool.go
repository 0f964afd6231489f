package agent

import "sync"

// pool runs work in a bounded number of goroutines, first come, first served.
// It belongs to the loop, which hears of each end by the work's own post.
type pool struct {
	free  int
	queue []func()
	wg    sync.WaitGroup
}

// do runs work now or when a place is free. ended, run in the work's goroutine,
// must make the loop call release.
func (p *pool) do(work func()) {
	if p.free == 0 {
		p.queue = append(p.queue, work)
		return
	}
	p.free--
	p.wg.Go(work)
}

// release gives a place back, and to the next in line.
func (p *pool) release() {
	p.free++
	if len(p.queue) == 0 {
		return
	}
	work := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	p.free--
	p.wg.Go(work)
}

// wait waits for the work under way. Nothing may be added any more.
func (p *pool) wait() { p.wg.Wait() }
