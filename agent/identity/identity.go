// Package identity is who a node is: its key and its certificate, which a
// server signs once when the node joins.
//
// The agent's folder holds one file, identity: a checked frame (see sdk/wire)
// of JSON with node id, key, certificate and the cluster's CA, 0600, replaced
// atomically.
package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
	"github.com/drupe-os/drupe/sdk/token"
	"github.com/drupe-os/drupe/sdk/wire"
)

const (
	fileName      = "identity"
	fileKind byte = 1 // of the frame: the format's version
)

// Identity is a node's. It does not change.
type Identity struct {
	Node    sdk.NodeID
	Port    uint16    // where the servers take agents' streams
	Expires time.Time // of the certificate
	ca      *x509.CertPool
	cert    tls.Certificate
}

type record struct {
	Node        sdk.NodeID `json:"node"`
	Key         []byte     `json:"key"`         // PKCS #8
	Certificate string     `json:"certificate"` // PEM
	CA          string     `json:"ca"`          // PEM
	Port        uint16     `json:"port"`
}

// Load reads the identity kept in dir. Errors: NotFound when the node has not
// joined, Corrupt.
func Load(dir string) (*Identity, error) {
	path := filepath.Join(dir, fileName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, sdk.Errorf(sdk.NotFound, path, "this node has not joined a cluster").ToFix("start the agent with a token to join")
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, path, "%w", err)
	}
	defer f.Close()
	var buf []byte
	kind, body, err := wire.Read(f, &buf)
	if err != nil {
		return nil, sdk.Errorf(sdk.Corrupt, path, "%w", err).ToFix("remove the file and join again: the node gets a new id")
	}
	var r record
	if err := json.Unmarshal(body, &r); kind != fileKind || err != nil {
		return nil, sdk.Errorf(sdk.Corrupt, path, "format %d cannot be read: %v", kind, err)
	}
	return r.identity(path)
}

func (r *record) identity(where string) (*Identity, error) {
	bad := func(format string, args ...any) (*Identity, error) {
		return nil, sdk.Errorf(sdk.Corrupt, where, format, args...)
	}
	key, err := x509.ParsePKCS8PrivateKey(r.Key)
	if err != nil {
		return bad("key: %w", err)
	}
	block, _ := pem.Decode([]byte(r.Certificate))
	if block == nil {
		return bad("the certificate is not in PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return bad("certificate: %w", err)
	}
	id := &Identity{Node: r.Node, Port: r.Port, Expires: leaf.NotAfter, ca: x509.NewCertPool()}
	id.cert = tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: leaf}
	ours, ok := key.(*ecdsa.PrivateKey)
	if !ok || !ours.PublicKey.Equal(leaf.PublicKey) {
		return bad("the certificate is not for this node's key")
	}
	if !id.ca.AppendCertsFromPEM([]byte(r.CA)) {
		return bad("it has no CA")
	}
	return id, nil
}

// TLS returns how to speak to a server's agent listener, at whatever address it
// is: only a server of this cluster is believed.
func (id *Identity) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: id.ca, ServerName: token.ServerHost,
		Certificates: []tls.Certificate{id.cert}, VerifyConnection: requireServer,
	}
}

// requireServer refuses a peer whose certificate names no server.
func requireServer(state tls.ConnectionState) error {
	for _, u := range state.PeerCertificates[0].URIs {
		if u.Scheme == "drupe" && strings.HasPrefix(u.Path, "/server/") {
			return nil
		}
	}
	return sdk.Errorf(sdk.Denied, state.ServerName, "it is no server of the cluster")
}

// Join makes this machine a node of the cluster whose server answers HTTPS at
// address ("host:port"), keeps the identity in dir, and returns it. The server
// must belong to the CA that the token names. Errors: Invalid for a token that
// is none, Unauthenticated for one that the server refuses or a server that is
// not of the token's cluster, Unavailable when it cannot be reached.
func Join(ctx context.Context, dir, address, joinToken string) (*Identity, error) {
	j, err := token.ParseJoin(joinToken)
	if err != nil {
		return nil, err
	}
	ca, err := authority(ctx, address, j.CA)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	c, err := client.New(address, ca, "")
	if err != nil {
		return nil, err
	}
	answer, err := c.Join(ctx, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), joinToken)
	if err != nil {
		return nil, err
	}
	// Of the two CAs, what the token vouches for is the one to believe.
	r := &record{Node: answer.Node, Key: der, Certificate: answer.Certificate, CA: ca, Port: answer.AgentPort}
	id, err := r.identity(address)
	if err != nil {
		return nil, err
	}
	if _, err := id.cert.Leaf.Verify(x509.VerifyOptions{Roots: id.ca, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return nil, sdk.Errorf(sdk.Unauthenticated, address, "the certificate it made is not of its cluster: %w", err)
	}
	return id, r.save(dir)
}

// authority asks the server for its chain and returns the CA in PEM, if it is
// the one of this fingerprint. Nothing is believed or sent before.
func authority(ctx context.Context, address string, fingerprint [sha256.Size]byte) (string, error) {
	var found string
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: token.ServerHost,
		// The chain is compared with the fingerprint below; the connection that
		// carries the token is made anew and fully verified.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, c := range state.PeerCertificates {
				if sha256.Sum256(c.Raw) == fingerprint {
					found = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
				}
			}
			return nil
		},
	}}
	host := strings.TrimPrefix(address, "https://")
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return "", sdk.Errorf(sdk.Unavailable, address, "no server answers: %w", err)
	}
	conn.Close()
	if found == "" {
		return "", sdk.Errorf(sdk.Unauthenticated, address, "the server is not of the cluster that made the token").
			ToFix("check the server's address, or ask that cluster's operator for a token")
	}
	return found, nil
}

// save writes the identity durably: a crash leaves the old file or the new one.
func (r *record) save(dir string) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return sdk.Errorf(sdk.Unavailable, dir, "%w", err)
	}
	f, err := os.CreateTemp(dir, ".identity-*") // 0600
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, dir, "%w", err)
	}
	_, err = f.Write(wire.AppendFrame(nil, fileKind, body))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, fileName))
	}
	if err != nil {
		os.Remove(f.Name())
		return sdk.Errorf(sdk.Unavailable, dir, "%w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, dir, "%w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
