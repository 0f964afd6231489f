package dispatch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// opening is how long a node has to open a session with a task; the key it was
// given is worth nothing after.
const opening = 10 * time.Second

// A connection that carries a session has no heartbeats of its own, since a
// person may think for hours. These probes find out that a node has vanished.
var probes = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3}

// waiter is somebody who asked a node for a session.
type waiter struct {
	node   sdk.NodeID
	answer chan answer // holds one
}

// answer is a node's: a connection or why there is none.
type answer struct {
	conn *relay
	err  error
}

// relay is a connection that carries a session. Closing it lets the goroutine
// that accepted it go.
type relay struct {
	net.Conn
	once sync.Once
	done chan struct{}
}

// Close implements net.Conn.
func (r *relay) Close() error {
	r.once.Do(func() { close(r.done) })
	return r.Conn.Close()
}

// Open opens a session with a task of a node: the node is asked to connect once
// more, and what is returned carries that session's frames of sdk/session. The
// request is session.Request in JSON. The caller closes it; ctx ends only the
// opening.
//
// Errors: the node's own, such as NotFound for a task that does not run there or
// Exhausted; Unavailable when the node has no session with this server; Timeout.
func (d *Dispatch) Open(ctx context.Context, node sdk.NodeID, task sdk.TaskID, request []byte) (net.Conn, error) {
	s := d.session(node)
	if s == nil {
		return nil, sdk.Errorf(sdk.Unavailable, "node/"+string(node), "it is not connected to this server").
			ToFix("ask the server that leads, or try again when the node is back")
	}
	var random [16]byte
	rand.Read(random[:]) // never fails
	key, w := hex.EncodeToString(random[:]), &waiter{node, make(chan answer, 1)}
	d.mu.Lock()
	d.waiters[key] = w
	d.mu.Unlock()
	s.send(wire.FrameOpen, &sdk.SessionRequest{Key: key, Task: task, Open: request})
	late := time.NewTimer(opening)
	defer late.Stop()
	var err error
	select {
	case a := <-w.answer:
		if a.err != nil {
			return nil, a.err
		}
		return a.conn, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.done:
		err = sdk.Errorf(sdk.Unavailable, "node/"+string(node), "its connection was lost").ToFix("try again when it is back")
	case <-d.stop:
		err = sdk.Errorf(sdk.Unavailable, "server", "it is ending").ToFix("try again with another server")
	case <-late.C:
		err = sdk.Errorf(sdk.Timeout, "task/"+string(task), "its node did not open the session").
			Because("it had %v", opening).ToFix("try again; the node's log says more")
	}
	if !d.forget(key) { // taken at this very moment
		if a := <-w.answer; a.conn != nil {
			a.conn.Close()
		}
	}
	return nil, err
}

// forget makes a key worth nothing. It reports whether it was worth something.
func (d *Dispatch) forget(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.waiters[key]
	delete(d.waiters, key)
	return ok
}

// claim returns who waits for a session of this key with this node, once.
func (d *Dispatch) claim(node sdk.NodeID, key string) *waiter {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.waiters[key]
	if w == nil || w.node != node {
		return nil
	}
	delete(d.waiters, key)
	return w
}

// carry hands a node's connection to who waits for it, and keeps it until that
// one closes it or Close is called.
func (d *Dispatch) carry(conn net.Conn, node sdk.NodeID, hello *sdk.SessionHello) {
	w := d.claim(node, hello.Key)
	if w == nil {
		d.cfg.Logger.Warn("a session that nobody waits for", "node", string(node))
		return
	}
	if hello.Error != "" {
		w.answer <- answer{err: nodeFault(node, hello.Error)}
		return
	}
	r := &relay{Conn: conn, done: make(chan struct{})}
	w.answer <- answer{conn: r}
	select {
	case <-r.done:
	case <-d.stop:
	}
}

// nodeFault reads why a node did not open a session.
func nodeFault(node sdk.NodeID, text string) error {
	f := &sdk.Fault{}
	if err := json.Unmarshal([]byte(text), f); err != nil || f.Kind == "" {
		return sdk.Errorf(sdk.Unavailable, "node/"+string(node), "it opened no session").Because("%.200s", text)
	}
	return f
}
