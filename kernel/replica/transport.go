package replica

import (
	"crypto/tls"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// Stream connects servers with each other: it accepts what they dial. Its Addr
// is what the others dial.
type Stream interface {
	net.Listener
	Dial(address string, timeout time.Duration) (net.Conn, error)
}

// TLS makes a stream on l on which both sides prove who they are: server and
// client are the two sides of the same server's identity. The configurations
// decide who is let in.
func TLS(l net.Listener, server, client *tls.Config) Stream {
	return tlsStream{tls.NewListener(l, server), client}
}

type tlsStream struct {
	net.Listener
	client *tls.Config
}

func (s tlsStream) Dial(address string, timeout time.Duration) (net.Conn, error) {
	return tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", address, s.client)
}

// streamLayer is a Stream in raft's types.
type streamLayer struct{ Stream }

func (s streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.Stream.Dial(string(address), timeout)
}

// transport is what raft needs and can be closed.
type transport interface {
	raft.Transport
	raft.WithClose
}

// newTransport returns the transport over s, or one in memory for a server that
// is alone.
func newTransport(id string, s Stream, log hclog.Logger) transport {
	if s == nil {
		addr, t := raft.NewInmemTransport(raft.ServerAddress(id))
		t.Connect(addr, t) // itself, for the call that starts an election at once
		return t
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: streamLayer{s}, MaxPool: 4, Timeout: 10 * time.Second, Logger: log,
	})
}
