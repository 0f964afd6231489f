package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/token"
)

// Credentials are one server's certificate and its TLS configurations. The
// certificate is renewed as it is used.
type Credentials struct {
	a     *Authority
	name  Name
	hosts []string

	mu   sync.Mutex
	cert *tls.Certificate
}

// Server returns credentials for a server of this id that is reached at hosts
// (names and addresses). Errors: Invalid for an id that is no name.
func (a *Authority) Server(id string, hosts ...string) (*Credentials, error) {
	if !sdk.ValidName(id) {
		return nil, sdk.Errorf(sdk.Invalid, "server", "%q cannot be a server's id", id).ToFix("use a-z, 0-9 and hyphens")
	}
	c := &Credentials{a: a, name: Name{a.Cluster(), Server, id}, hosts: append([]string{token.ServerHost}, hosts...)}
	_, err := c.current()
	return c, err
}

// current returns the certificate, a new one when half of its life is over. The
// CA is part of what is sent: a joining agent knows it by its fingerprint only.
func (c *Credentials) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.a.now()
	if c.cert != nil && now.Before(c.cert.Leaf.NotAfter.Add(-serverLife/2)) {
		return c.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := c.a.issue(c.name, key.Public(), serverLife, usage, c.hosts)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	c.cert = &tls.Certificate{Certificate: [][]byte{der, c.a.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return c.cert, nil
}

func (c *Credentials) base(clients tls.ClientAuthType) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(c.a.cert)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: clients, ClientCAs: pool, RootCAs: pool, Time: c.a.now,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.current() },
		// A resumed session would skip asking whether the peer is still good.
		SessionTicketsDisabled: true,
	}
}

// API is for the HTTP API: people come without a certificate, agents fetch
// images with theirs.
func (c *Credentials) API() *tls.Config {
	t := c.base(tls.VerifyClientCertIfGiven)
	t.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		return requireRole(c.name.Cluster, Agent)(state)
	}
	t.NextProtos = []string{"h2", "http/1.1"}
	return t
}

// Agents is for the listener of agents: only agents of this cluster get in.
func (c *Credentials) Agents() *tls.Config {
	t := c.base(tls.RequireAndVerifyClientCert)
	t.VerifyConnection = requireRole(c.name.Cluster, Agent)
	return t
}

// Peers is for connections between servers, either side: only servers of this
// cluster get in.
func (c *Credentials) Peers() *tls.Config {
	t := c.base(tls.RequireAndVerifyClientCert)
	t.ServerName = token.ServerHost
	t.VerifyConnection = requireRole(c.name.Cluster, Server)
	return t
}

// Expires returns when the present certificate ends.
func (c *Credentials) Expires() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cert.Leaf.NotAfter
}
