package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/token"
)

// How long certificates live.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 24 * time.Hour
	agentLife  = 90 * 24 * time.Hour
	// skew lets machines whose clocks run behind believe a fresh certificate.
	skew = 5 * time.Minute
)

// Authority is the cluster's certificate authority with its tokens. Its methods
// may be called from any goroutine.
type Authority struct {
	path    string
	cluster string
	gossip  []byte
	cert    *x509.Certificate
	key     crypto.Signer
	now     func() time.Time

	mu  sync.Mutex
	rec *record
}

// Open reads the authority kept in dir, or founds that of a new cluster of this
// name. Errors: Corrupt, Conflict when the folder belongs to another cluster.
func Open(dir, cluster string) (*Authority, error) { return open(dir, cluster, time.Now) }

func open(dir, cluster string, now func() time.Time) (*Authority, error) {
	if !sdk.ValidName(cluster) {
		return nil, sdk.Errorf(sdk.Invalid, "cluster", "%q cannot be a cluster's name", cluster).ToFix("use a-z, 0-9 and hyphens")
	}
	a := &Authority{path: filepath.Join(dir, fileName), now: now}
	rec, err := load(a.path)
	if missing(err) {
		rec, err = a.found(dir, cluster)
	}
	if err != nil {
		return nil, err
	}
	if rec.Cluster != cluster {
		return nil, sdk.Errorf(sdk.Conflict, a.path, "it belongs to cluster %q, not %q", rec.Cluster, cluster)
	}
	key, err := x509.ParsePKCS8PrivateKey(rec.Key)
	if err != nil {
		return nil, sdk.Errorf(sdk.Corrupt, a.path, "key: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(rec.CA); err != nil {
		return nil, sdk.Errorf(sdk.Corrupt, a.path, "certificate: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, sdk.Errorf(sdk.Corrupt, a.path, "the key cannot sign")
	}
	a.key, a.rec, a.cluster, a.gossip = signer, rec, rec.Cluster, rec.Gossip
	return a, nil
}

func (a *Authority) found(dir, cluster string) (*record, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, sdk.Errorf(sdk.Unavailable, dir, "%w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Drupe CA of " + cluster},
		NotBefore: a.now().Add(-skew), NotAfter: a.now().Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	gossip := token.NewSecret()
	rec := &record{Cluster: cluster, CA: ca, Key: der, Gossip: gossip[:]}
	return rec, rec.save(a.path)
}

func serial() *big.Int {
	b := make([]byte, 16)
	rand.Read(b)
	b[0] = b[0]&0x7f | 0x40 // positive and never short
	return new(big.Int).SetBytes(b)
}

// Cluster returns the cluster's name.
func (a *Authority) Cluster() string { return a.cluster }

// CA returns the CA's certificate in PEM.
func (a *Authority) CA() []byte { return certPEM(a.cert.Raw) }

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// GossipKey returns the 32 bytes that gossip between servers is encrypted with.
func (a *Authority) GossipKey() []byte { return slices.Clone(a.gossip) }

// issue signs a certificate for public, held by n.
func (a *Authority) issue(n Name, public any, life time.Duration, usage []x509.ExtKeyUsage, hosts []string) ([]byte, error) {
	now := a.now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: string(n.Role) + " " + n.ID},
		NotBefore: now.Add(-skew), NotAfter: now.Add(life), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: usage,
		URIs: []*url.URL{n.url()},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return x509.CreateCertificate(rand.Reader, t, a.cert, public, a.key)
}

// Join makes the sender of a certificate request (PEM, PKCS #10) an agent of
// the cluster, with a new node id, if the token is good. A token for one use is
// used up, durably, before Join returns. What the request says about names is
// ignored. Errors: Unauthenticated for the token, Invalid for the request.
func (a *Authority) Join(_ context.Context, csrPEM []byte, joinToken string) (sdk.JoinAnswer, error) {
	csr, err := parseCSR(csrPEM)
	if err != nil {
		return sdk.JoinAnswer{}, err
	}
	if err := a.useJoin(joinToken); err != nil {
		return sdk.JoinAnswer{}, err
	}
	id := make([]byte, 10)
	rand.Read(id)
	node := "n-" + strings.ToLower(base32.StdEncoding.EncodeToString(id))
	return a.signAgent(csr, sdk.NodeID(node))
}

// Renew makes a new certificate for an agent that proved to be node. Errors:
// Invalid.
func (a *Authority) Renew(csrPEM []byte, node sdk.NodeID) (sdk.JoinAnswer, error) {
	csr, err := parseCSR(csrPEM)
	if err != nil {
		return sdk.JoinAnswer{}, err
	}
	return a.signAgent(csr, node)
}

func (a *Authority) signAgent(csr *x509.CertificateRequest, node sdk.NodeID) (sdk.JoinAnswer, error) {
	name := Name{a.Cluster(), Agent, string(node)}
	der, err := a.issue(name, csr.PublicKey, agentLife, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil)
	if err != nil {
		return sdk.JoinAnswer{}, sdk.Errorf(sdk.Internal, name.String(), "sign: %w", err)
	}
	return sdk.JoinAnswer{Certificate: string(certPEM(der)), CA: string(a.CA()), Node: node}, nil
}

func parseCSR(b []byte) (*x509.CertificateRequest, error) {
	bad := func(format string, args ...any) error {
		return sdk.Errorf(sdk.Invalid, "join", format, args...).At("csr")
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, bad("it is no certificate request in PEM")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, bad("%w", err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, bad("its key is not of P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, bad("the sender does not hold the key: %w", err)
	}
	return csr, nil
}

// fingerprint is what a token to join knows the CA by.
func (a *Authority) fingerprint() [sha256.Size]byte { return sha256.Sum256(a.cert.Raw) }
