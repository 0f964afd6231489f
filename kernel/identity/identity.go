// Package identity says who is who in the cluster: its certificate authority,
// the certificates of servers and agents, the tokens to join and the tokens of
// people.
//
// Everything between machines is TLS 1.3 with certificates on both sides. A
// certificate names its holder by one URI:
//
//	drupe://CLUSTER/server/ID
//	drupe://CLUSTER/agent/NODE
//
// An agent's certificate is for clients only, so it can never pass for a
// server. Keys are P-256 (browsers, too, can then speak to a server). A
// server's certificate lives 24 hours and is made anew, in memory, at half of
// that; an agent's lives 90 days.
//
// The data folder holds one file, identity: a checked frame (see sdk/wire) of
// JSON with the CA, its key, the gossip key, and the SHA-256 of every token. It
// is 0600 and replaced atomically. Tokens themselves are stored nowhere.
package identity

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Role is what kind of machine a certificate was made for.
type Role string

// The roles.
const (
	Server Role = "server"
	Agent  Role = "agent"
)

// Name is who a certificate says its holder is.
type Name struct {
	Cluster string
	Role    Role
	ID      string
}

// Node returns the agent's node.
func (n Name) Node() sdk.NodeID { return sdk.NodeID(n.ID) }

// String returns the name as a URI.
func (n Name) String() string { return n.url().String() }

func (n Name) url() *url.URL {
	return &url.URL{Scheme: "drupe", Host: n.Cluster, Path: "/" + string(n.Role) + "/" + n.ID}
}

// NameOf reads the name in a certificate that was verified. Errors:
// Unauthenticated when it has none.
func NameOf(c *x509.Certificate) (Name, error) {
	if len(c.URIs) == 1 && c.URIs[0].Scheme == "drupe" {
		parts := strings.Split(c.URIs[0].Path, "/")
		if len(parts) == 3 && sdk.ValidName(parts[2]) {
			n := Name{Cluster: c.URIs[0].Host, Role: Role(parts[1]), ID: parts[2]}
			if n.Role == Server || n.Role == Agent {
				return n, nil
			}
		}
	}
	return Name{}, sdk.Errorf(sdk.Unauthenticated, "certificate", "it names neither a server nor an agent")
}

// Peer returns who is at the other end of a connection whose handshake is done.
// Errors: Unauthenticated.
func Peer(state tls.ConnectionState) (Name, error) {
	if len(state.VerifiedChains) == 0 {
		return Name{}, sdk.Errorf(sdk.Unauthenticated, "connection", "the other side has no verified certificate")
	}
	return NameOf(state.VerifiedChains[0][0])
}

// requireRole makes a handshake fail unless the other side has the role in this
// cluster.
func requireRole(cluster string, role Role) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		n, err := Peer(state)
		if err != nil {
			return err
		}
		if n.Role != role || n.Cluster != cluster {
			return sdk.Errorf(sdk.Denied, n.String(), "only %ss of cluster %s may do that", role, cluster)
		}
		return nil
	}
}
