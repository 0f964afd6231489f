package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

const (
	// callBuffer is how many chunks wait for a call's reader.
	callBuffer = 64
	// callPatience is how long a full buffer may hold the agent's stream up.
	callPatience = time.Second
)

// call is one request for logs.
type call struct {
	chunks chan sdk.LogChunk
	gone   chan struct{} // closed when nobody reads any more
	once   sync.Once
	stop   func() bool // stops watching the reader's context

	mu     sync.Mutex // held while sending; closing waits for it
	closed bool
}

// end closes the call's channel, from any goroutine.
func (c *call) end() {
	c.once.Do(func() { close(c.gone) })
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.chunks)
	}
}

// put hands a chunk on. It reports false when the reader was too slow or is
// gone.
func (c *call) put(chunk sdk.LogChunk, patience time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	select {
	case c.chunks <- chunk:
		return true
	default:
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case c.chunks <- chunk:
		return true
	case <-c.gone:
	case <-t.C:
	}
	return false
}

func (s *session) logs(ctx context.Context, req sdk.LogRequest) (<-chan sdk.LogChunk, error) {
	c := &call{chunks: make(chan sdk.LogChunk, callBuffer), gone: make(chan struct{})}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil, sdk.Errorf(sdk.Unavailable, "node "+string(s.node), "its session has just ended")
	}
	s.next++
	req.Call, req.Cancel = s.next, false
	s.calls[req.Call] = c
	c.stop = context.AfterFunc(ctx, func() { s.hangUp(req.Call) })
	s.mu.Unlock()
	s.send(wire.FrameLogRequest, &req)
	return c.chunks, nil
}

// forget takes a call out.
func (s *session) forget(number uint64) *call {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[number]
	delete(s.calls, number)
	return c
}

// hangUp ends a call that the agent has not finished, and tells it.
func (s *session) hangUp(number uint64) {
	if c := s.forget(number); c != nil {
		s.send(wire.FrameLogRequest, &sdk.LogRequest{Call: number, Cancel: true})
		c.end()
	}
}

// deliver hands a chunk to its call. Chunks of calls that are over are dropped.
func (s *session) deliver(chunk sdk.LogChunk) {
	s.mu.Lock()
	c := s.calls[chunk.Call]
	s.mu.Unlock()
	if c == nil {
		return
	}
	if !c.put(chunk, callPatience) {
		s.hangUp(chunk.Call)
		return
	}
	if chunk.EOF {
		s.forget(chunk.Call)
		c.stop()
		c.end()
	}
}

// dropCalls ends all calls of a session that is over.
func (s *session) dropCalls() {
	s.mu.Lock()
	calls := s.calls
	s.calls = map[uint64]*call{}
	s.mu.Unlock()
	for number, c := range calls {
		c.stop()
		c.put(sdk.LogChunk{Call: number, Error: "the connection to the node is lost", EOF: true}, 0)
		c.end()
	}
}
