package oci

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"slices"

	"github.com/drupe-os/drupe/sdk"
)

// A signature is an artifact that refers to what it signs: a manifest of
// artifact type TypeSignature with the signed manifest as its subject, the empty
// configuration, and one layer, the payload, which is the digest of the signed
// manifest as text ("sha256:…"). The layer's annotations hold the key's id and
// the ed25519 signature, base64 of the bytes, over the payload preceded by
// signaturePrefix. Images, modules and plugins are signed alike.
const (
	TypeSignature = "application/vnd.drupe.signature.v1"
	// AnnotationKey names the key that signed; see KeyID.
	AnnotationKey = "dev.drupe.signature.key"
	// AnnotationSignature is the signature itself.
	AnnotationSignature = "dev.drupe.signature.ed25519"
	// AnnotationSubject names, in a layout's index, what a referrer refers to.
	AnnotationSubject = "dev.drupe.subject"
)

// signaturePrefix keeps a signature from meaning anything elsewhere.
const signaturePrefix = TypeSignature + "\n"

// KeyID returns the name of a public key: the first 16 hex digits of its
// SHA-256.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// NewKey makes a key pair in PEM: PKCS #8 and PKIX, as openssl writes them.
func NewKey() (private, public []byte, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, sdk.Errorf(sdk.Internal, "key", "%v", err)
	}
	a, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return nil, nil, sdk.Errorf(sdk.Internal, "key", "%v", err)
	}
	b, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, nil, sdk.Errorf(sdk.Internal, "key", "%v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: a}),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b}), nil
}

// PrivateKey reads a private key in PEM. Errors: Invalid.
func PrivateKey(text []byte) (ed25519.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block != nil {
		if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if k, ok := k.(ed25519.PrivateKey); ok {
				return k, nil
			}
		}
	}
	return nil, sdk.Errorf(sdk.Invalid, "key", "this is no private ed25519 key in PEM").ToFix("make one with drupe key new")
}

// PublicKeys reads the public keys of a file in PEM, one or several. Errors:
// Invalid.
func PublicKeys(text []byte) ([]ed25519.PublicKey, error) {
	var out []ed25519.PublicKey
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		k, err := x509.ParsePKIXPublicKey(block.Bytes)
		pub, ok := k.(ed25519.PublicKey)
		if err != nil || !ok {
			return nil, sdk.Errorf(sdk.Invalid, "key", "a %q is no public ed25519 key", block.Type)
		}
		out = append(out, pub)
	}
	if len(out) == 0 {
		return nil, sdk.Errorf(sdk.Invalid, "key", "this is no public ed25519 key in PEM").ToFix("give the .pub file that drupe key new wrote")
	}
	return out, nil
}

// Sign makes the signature of a manifest: the signature's own manifest and its
// payload. The empty configuration, EmptyJSON, belongs to it too.
func Sign(key ed25519.PrivateKey, subject Descriptor) (manifest, payload []byte, err error) {
	payload = []byte(subject.Digest)
	sig := ed25519.Sign(key, append([]byte(signaturePrefix), payload...))
	manifest, err = json.Marshal(Manifest{SchemaVersion: 2, MediaType: TypeManifest, ArtifactType: TypeSignature,
		Config: Descriptor{MediaType: TypeEmpty, Digest: DigestOf([]byte(EmptyJSON)), Size: int64(len(EmptyJSON))},
		Layers: []Descriptor{{MediaType: TypeSignature, Digest: DigestOf(payload), Size: int64(len(payload)),
			Annotations: map[string]string{AnnotationKey: KeyID(key.Public().(ed25519.PublicKey)),
				AnnotationSignature: base64.StdEncoding.EncodeToString(sig)}}},
		Subject: &Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size}})
	if err != nil {
		return nil, nil, sdk.Errorf(sdk.Internal, "signature", "encode: %v", err)
	}
	return manifest, payload, nil
}

// Verify reports whether manifest is a signature of subject by one of the keys.
// Its payload need not be fetched: what it must be is known.
func Verify(keys []ed25519.PublicKey, manifest []byte, subject sdk.Digest) bool {
	var m Manifest
	if json.Unmarshal(manifest, &m) != nil || m.ArtifactType != TypeSignature || m.Subject == nil || m.Subject.Digest != subject || len(m.Layers) != 1 {
		return false
	}
	l := m.Layers[0]
	sig, err := base64.StdEncoding.DecodeString(l.Annotations[AnnotationSignature])
	if err != nil || l.Digest != DigestOf([]byte(subject)) {
		return false
	}
	return slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool {
		return l.Annotations[AnnotationKey] == KeyID(k) && ed25519.Verify(k, []byte(signaturePrefix+string(subject)), sig)
	})
}
