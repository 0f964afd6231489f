package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/token"
)

// clock is a time that tests set.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.at.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.at.Load()) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

func authority(t *testing.T, cluster string, c *clock) *Authority {
	t.Helper()
	a, err := open(t.TempDir(), cluster, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(t *testing.T) (csr []byte, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// The names it wishes for must have no effect.
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{token.ServerHost}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), key
}

// agentOf joins an agent and returns its side of TLS.
func agentOf(t *testing.T, a *Authority) (*tls.Config, sdk.NodeID) {
	t.Helper()
	join, err := a.NewJoin(time.Hour, false)
	if err != nil {
		t.Fatal(err)
	}
	csr, key := request(t)
	answer, err := a.Join(t.Context(), csr, join)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(answer.Certificate))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(answer.CA))
	return &tls.Config{
		RootCAs: pool, ServerName: token.ServerHost, Time: a.now,
		Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}},
	}, answer.Node
}

func credentials(t *testing.T, a *Authority) *Credentials {
	t.Helper()
	c, err := a.Server("s1", "127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// shake does a handshake over loopback and returns whom the server saw.
func shake(server, client *tls.Config) (Name, error) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return Name{}, err
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := tls.Dial("tcp", l.Addr().String(), client)
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // a refusal by the server arrives here
			c.Close()
		}
		done <- err
	}()
	conn, err := l.Accept()
	if err != nil {
		return Name{}, err
	}
	s := conn.(*tls.Conn)
	if err = s.Handshake(); err == nil {
		_, err = s.Write([]byte{1})
	}
	n, perr := Peer(s.ConnectionState())
	s.Close()
	return n, errors.Join(err, perr, <-done)
}

func TestWhoGetsIn(t *testing.T) {
	clk := newClock()
	a, other := authority(t, "home", clk), authority(t, "home", clk)
	creds, foreign := credentials(t, a), credentials(t, other)
	agent, node := agentOf(t, a)
	stranger, _ := agentOf(t, other)
	nobody := &tls.Config{RootCAs: agent.RootCAs, ServerName: token.ServerHost, Time: clk.now}
	impostor := agent.Clone() // an agent that poses as a server
	impostor.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &agent.Certificates[0], nil }

	for _, c := range []struct {
		what           string
		server, client *tls.Config
		want           string // the name seen; "" if it must fail
	}{
		{"agent to agents' listener", creds.Agents(), agent, "drupe://home/agent/" + string(node)},
		{"server to server", creds.Peers(), creds.Peers(), "drupe://home/server/s1"},
		{"agent of another CA", creds.Agents(), stranger, ""},
		{"no certificate", creds.Agents(), nobody, ""},
		{"agent to servers' listener", creds.Peers(), agent, ""},
		{"server to agents' listener", creds.Agents(), creds.Peers(), ""},
		{"agent to a server of another CA", foreign.Agents(), agent, ""},
		{"agent posing as a server", impostor, agent, ""},
		{"agent posing as a server to a server", impostor, creds.Peers(), ""},
		{"TLS 1.2", creds.Agents(), func() *tls.Config { c := agent.Clone(); c.MaxVersion = tls.VersionTLS12; return c }(), ""},
	} {
		n, err := shake(c.server, c.client)
		if c.want == "" && err == nil {
			t.Errorf("%s: let in as %s", c.what, n)
		}
		if c.want != "" && (err != nil || n.String() != c.want) {
			t.Errorf("%s: %v, %v; want %s", c.what, n, err, c.want)
		}
	}
}

func TestExpiry(t *testing.T) {
	clk := newClock()
	a := authority(t, "home", clk)
	creds := credentials(t, a)
	agent, _ := agentOf(t, a)
	first := creds.Expires()
	clk.forward(serverLife/2 + time.Minute)
	if _, err := shake(creds.Agents(), agent); err != nil {
		t.Fatal(err)
	}
	if !creds.Expires().After(first) {
		t.Error("the server's certificate was not renewed at half of its life")
	}
	clk.forward(agentLife)
	if _, err := shake(creds.Agents(), agent); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired agent: %v", err)
	}
}

func TestJoinTokens(t *testing.T) {
	clk := newClock()
	a := authority(t, "home", clk)
	csr, _ := request(t)
	once, _ := a.NewJoin(time.Hour, false)
	many, _ := a.NewJoin(time.Hour, true)
	late, _ := a.NewJoin(time.Minute, false)
	foreign, _ := authority(t, "home", clk).NewJoin(time.Hour, true)
	person, _ := a.NewPerson("ann", 0)
	j, _ := token.ParseJoin(once)
	j.Secret[0] ^= 1
	clk.forward(2 * time.Minute)

	nodes := map[sdk.NodeID]bool{}
	for _, c := range []struct {
		what, token string
		want        sdk.FaultKind
	}{
		{"once", once, ""}, {"once, again", once, sdk.Unauthenticated},
		{"many", many, ""}, {"many, again", many, ""},
		{"too late", late, sdk.Unauthenticated}, {"of another cluster", foreign, sdk.Unauthenticated},
		{"guessed", j.String(), sdk.Unauthenticated}, {"of a person", person, sdk.Unauthenticated},
		{"empty", "", sdk.Unauthenticated}, {"mistyped", many[:len(many)-1] + "9", sdk.Unauthenticated},
	} {
		answer, err := a.Join(t.Context(), csr, c.token)
		if sdk.KindOf(err) != c.want {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
		if err == nil {
			if nodes[answer.Node] || !sdk.ValidName(string(answer.Node)) {
				t.Errorf("%s: node id %q", c.what, answer.Node)
			}
			nodes[answer.Node] = true
		}
	}
	// The uses survive a restart.
	b, err := open(filepath.Dir(a.path), "home", clk.now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Join(t.Context(), csr, once); sdk.KindOf(err) != sdk.Unauthenticated {
		t.Errorf("used again after a restart: %v", err)
	}
	if _, err := b.Join(t.Context(), csr, many); err != nil {
		t.Error(err)
	}
}

func TestBadRequests(t *testing.T) {
	a := authority(t, "home", newClock())
	join, _ := a.NewJoin(time.Hour, false)
	good, _ := request(t)
	forged := bytes.Clone(good)
	block, _ := pem.Decode(forged)
	block.Bytes[len(block.Bytes)-1] ^= 1 // the signature
	weak, _ := rsa.GenerateKey(rand.Reader, 2048)
	der, _ := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weak)
	for what, csr := range map[string][]byte{
		"empty": nil, "no PEM": []byte("hello"), "certificate": a.CA(),
		"without the key": pem.EncodeToMemory(block), "RSA": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
	} {
		if _, err := a.Join(t.Context(), csr, join); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := a.Join(t.Context(), good, join); err != nil {
		t.Errorf("bad requests used the token up: %v", err)
	}
}

func TestPeople(t *testing.T) {
	clk := newClock()
	a := authority(t, "home", clk)
	ann, err := a.NewPerson("ann", 0)
	if err != nil {
		t.Fatal(err)
	}
	bob, _ := a.NewPerson("bob", time.Hour)
	if _, err := a.NewPerson("no good", 0); sdk.KindOf(err) != sdk.Invalid {
		t.Error(err)
	}
	who := func(tok string) string { w, _ := a.Identify(tok); return w }
	if who(ann) != "ann" || who(bob) != "bob" || who(token.NewPerson()) != "" || who("") != "" {
		t.Error(who(ann), who(bob))
	}
	clk.forward(2 * time.Hour)
	if who(bob) != "" || who(ann) != "ann" {
		t.Error("expiry")
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := WriteToken(path, ann); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Error(st.Mode())
	}
	if err := a.DropPerson("ann"); err != nil || who(ann) != "" {
		t.Error("taken back, but still good: ", err)
	}
	if err := a.DropPerson("ann"); sdk.KindOf(err) != sdk.NotFound {
		t.Error(err)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(dir, "home")
	if err != nil {
		t.Fatal(err)
	}
	person, _ := a.NewPerson("ann", 0)
	path := filepath.Join(dir, fileName)
	good, _ := os.ReadFile(path)
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Error(st.Mode())
	}
	if bytes.Contains(good, []byte(person)) {
		t.Error("the file holds a token in clear")
	}
	b, err := Open(dir, "home")
	if err != nil || !bytes.Equal(a.CA(), b.CA()) || !bytes.Equal(a.GossipKey(), b.GossipKey()) || len(b.GossipKey()) != 32 {
		t.Fatal("another authority after a restart: ", err)
	}
	if _, err := Open(dir, "away"); sdk.KindOf(err) != sdk.Conflict {
		t.Error(err)
	}
	for i := 0; i < len(good); i += 7 {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		os.WriteFile(path, bad, 0o600)
		if _, err := Open(dir, "home"); sdk.KindOf(err) != sdk.Corrupt {
			t.Errorf("flip at byte %d: %v", i, err)
		}
	}
	os.WriteFile(path, append(bytes.Clone(good), 0), 0o600)
	if _, err := Open(dir, "home"); sdk.KindOf(err) != sdk.Corrupt {
		t.Errorf("too long: %v", err)
	}
	os.WriteFile(path, good, 0o600)
	os.Chmod(path, 0o644)
	if _, err := Open(dir, "home"); sdk.KindOf(err) != sdk.Denied {
		t.Errorf("readable by all: %v", err)
	}
}
