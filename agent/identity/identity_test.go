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
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/token"
)

// cluster is the servers' side, as small as can be.
type cluster struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	http *httptest.Server
	join token.Join
	lie  bool // answers with a certificate for another key
}

func newCluster(t *testing.T) *cluster {
	c := &cluster{t: t, key: newKey(t)}
	der := c.sign(&x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign}, c.key)
	c.cert, _ = x509.ParseCertificate(der)
	c.join = token.Join{Secret: token.NewSecret(), CA: sha256.Sum256(der)}
	server := newKey(t)
	leaf := c.sign(&x509.Certificate{
		DNSNames: []string{token.ServerHost}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		URIs: uris("drupe://home/server/s1"), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, server)
	c.http = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.http.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf, der}, PrivateKey: server}}}
	c.http.StartTLS()
	t.Cleanup(c.http.Close)
	return c
}

func uris(s string) []*url.URL { u, _ := url.Parse(s); return []*url.URL{u} }

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (c *cluster) sign(tmpl *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	tmpl.SerialNumber, tmpl.BasicConstraintsValid = big.NewInt(time.Now().UnixNano()), true
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := c.cert
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return der
}

func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	var req sdk.JoinRequest
	json.NewDecoder(r.Body).Decode(&req)
	block, _ := pem.Decode([]byte(req.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || r.URL.Path != "/v1/join" || req.Token != c.join.String() {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(sdk.Problem{Status: 401, Code: sdk.Unauthenticated, Detail: "it is unknown"})
		return
	}
	tmpl := &x509.Certificate{URIs: uris("drupe://home/agent/n-1"), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	key := &ecdsa.PrivateKey{PublicKey: *csr.PublicKey.(*ecdsa.PublicKey)}
	if c.lie {
		key = newKey(c.t)
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(sdk.JoinAnswer{
		Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.sign(tmpl, key)})), Node: "n-1",
	})
}

func TestJoin(t *testing.T) {
	c, other := newCluster(t), newCluster(t)
	address := c.http.Listener.Addr().String()
	dir := t.TempDir()
	ctx := context.Background()
	if _, err := Load(dir); sdk.KindOf(err) != sdk.NotFound {
		t.Fatal(err)
	}
	wrong := c.join
	wrong.Secret[0] ^= 1
	for what, try := range map[string]struct {
		address, token string
		want           sdk.FaultKind
	}{
		"no token":                      {address, "hello", sdk.Invalid},
		"wrong token":                   {address, wrong.String(), sdk.Unauthenticated},
		"token of another cluster":      {address, other.join.String(), sdk.Unauthenticated},
		"a server of another cluster":   {other.http.Listener.Addr().String(), c.join.String(), sdk.Unauthenticated},
		"nobody listens at the address": {"127.0.0.1:1", c.join.String(), sdk.Unavailable},
	} {
		if _, err := Join(ctx, dir, try.address, try.token); sdk.KindOf(err) != try.want {
			t.Errorf("%s: %v", what, err)
		}
	}
	c.lie = true
	if _, err := Join(ctx, dir, address, c.join.String()); err == nil {
		t.Error("took a certificate for another key")
	}
	c.lie = false
	if _, err := Load(dir); sdk.KindOf(err) != sdk.NotFound {
		t.Fatalf("failed joins left something: %v", err)
	}
	id, err := Join(ctx, dir, address, c.join.String())
	if err != nil {
		t.Fatal(err)
	}
	again, err := Load(dir)
	if err != nil || again.Node != id.Node || id.Node != "n-1" || !again.Expires.Equal(id.Expires) {
		t.Fatal(again, err)
	}
	conn, err := tls.Dial("tcp", address, again.TLS())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if conn, err := tls.Dial("tcp", other.http.Listener.Addr().String(), again.TLS()); err == nil {
		conn.Close()
		t.Error("believed a server of another cluster")
	}
	path := filepath.Join(dir, fileName)
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Error(st.Mode())
	}
	b, _ := os.ReadFile(path)
	b[len(b)/2] ^= 1
	os.WriteFile(path, b, 0o600)
	if _, err := Load(dir); sdk.KindOf(err) != sdk.Corrupt {
		t.Error(err)
	}
}
