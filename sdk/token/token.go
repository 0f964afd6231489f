// Package token is the written form of Drupe's secrets, so that both sides read
// the same: tokens of people ("drp_…") and tokens to join ("drpjoin_…").
//
// A token ends in a checksum: a typing mistake is told from a wrong token
// before anything is sent, and scanners for leaked secrets can be sure of a
// find.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"strings"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// ServerHost is the host name in every server's certificate: agents and servers
// ask for it instead of an address, which may change.
const ServerHost = "server.drupe.internal"

// SecretSize is the number of random bytes in a token.
const SecretSize = 32

const (
	personPrefix = "drp_"
	joinPrefix   = "drpjoin_"
)

var text = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Join is what a token to join carries.
type Join struct {
	Secret [SecretSize]byte
	CA     [sha256.Size]byte // SHA-256 of the cluster CA's certificate (DER)
}

// Hash is what a server keeps of a token.
type Hash = [sha256.Size]byte

// NewSecret returns fresh random bytes.
func NewSecret() (s [SecretSize]byte) {
	rand.Read(s[:]) // never fails: see crypto/rand
	return s
}

// NewPerson returns a fresh token of a person.
func NewPerson() string {
	s := NewSecret()
	return encode(personPrefix, s[:])
}

// HashOf returns what is kept of a person's token. Errors: Invalid when it is
// none, or mistyped.
func HashOf(person string) (Hash, error) {
	b, err := decode(personPrefix, person, SecretSize)
	if err != nil {
		return Hash{}, err
	}
	return sha256.Sum256(b), nil
}

// String writes j as people copy it. It is a secret.
func (j Join) String() string { return encode(joinPrefix, append(j.Secret[:], j.CA[:]...)) }

// Hash returns what is kept of j.
func (j Join) Hash() Hash { return sha256.Sum256(j.Secret[:]) }

// ParseJoin reads a token to join. Errors: Invalid.
func ParseJoin(s string) (j Join, err error) {
	b, err := decode(joinPrefix, s, SecretSize+sha256.Size)
	if err != nil {
		return j, err
	}
	copy(j.Secret[:], b)
	copy(j.CA[:], b[SecretSize:])
	return j, nil
}

func encode(prefix string, b []byte) string {
	b = binary.LittleEndian.AppendUint32(b, wire.Sum(append([]byte(prefix), b...)))
	return prefix + text.EncodeToString(b)
}

func decode(prefix, s string, size int) ([]byte, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), prefix)
	if !ok {
		return nil, sdk.Errorf(sdk.Invalid, "token", "it does not begin with %q", prefix)
	}
	b, err := text.DecodeString(rest)
	if err != nil || len(b) != size+4 || text.EncodeToString(b) != rest {
		return nil, sdk.Errorf(sdk.Invalid, "token", "it is not whole").ToFix("copy the whole token")
	}
	if binary.LittleEndian.Uint32(b[size:]) != wire.Sum(append([]byte(prefix), b[:size]...)) {
		return nil, sdk.Errorf(sdk.Invalid, "token", "its checksum does not match").ToFix("copy the token again: a character is wrong")
	}
	return b[:size], nil
}
