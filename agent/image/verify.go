package image

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
)

// Verify is what an image must pass before any of its layers is fetched; the
// zero value lets all pass. Images already here are held to it too.
type Verify struct {
	// Keys: one of them must have signed the manifest or the index it is in;
	// see package oci for the form of signatures.
	Keys []ed25519.PublicKey
	// Program is called with the reference, the digest and the path of the
	// manifest; it refuses by ending with anything but 0, and its standard error
	// says why.
	Program string
}

// verifyTime bounds a run of Verify.Program.
const verifyTime = time.Minute

// id changes whenever the demands do.
func (v *Verify) id() string {
	if len(v.Keys) == 0 && v.Program == "" {
		return ""
	}
	var b strings.Builder
	b.WriteString(v.Program)
	for _, k := range v.Keys {
		b.WriteString("\n" + oci.KeyID(k))
	}
	return string(oci.DigestOf([]byte(b.String())))
}

// check holds the manifest to the demands. Errors: *Error with
// ReasonImageUnsigned, or those of reading signatures.
func (v *Verify) check(ctx context.Context, ref string, src source, f *found, tmp string) error {
	if len(v.Keys) > 0 {
		if err := v.signed(ctx, ref, src, f); err != nil {
			return err
		}
	}
	if v.Program == "" {
		return nil
	}
	file, err := os.CreateTemp(tmp, "manifest-")
	if err != nil {
		return classify(err, "check the image")
	}
	defer os.Remove(file.Name())
	_, err = file.Write(f.raw)
	if err := errors.Join(err, file.Close()); err != nil {
		return classify(err, "check the image")
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, v.Program, ref, string(f.digest), file.Name())
	cmd.WaitDelay = time.Second
	var said limited
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		words := strings.TrimSpace(strings.ToValidUTF8(said.String(), ""))
		if words == "" {
			words = err.Error()
		}
		return failf(sdk.ReasonImageUnsigned, sdk.Denied, "%s is refused by %s: %s", ref, filepath.Base(v.Program), words).
			fix("have the image signed as this node's operator wants it")
	}
	return nil
}

func (v *Verify) signed(ctx context.Context, ref string, src source, f *found) error {
	digests := []sdk.Digest{f.root}
	if f.digest != f.root {
		digests = append(digests, f.digest)
	}
	seen := 0
	for _, d := range digests {
		list, err := src.signatures(ctx, d)
		if err != nil {
			return err
		}
		for _, m := range list {
			if seen++; oci.Verify(v.Keys, m, d) {
				return nil
			}
		}
	}
	e := failf(sdk.ReasonImageUnsigned, sdk.Denied, "%s is not signed by a key that this node accepts", ref)
	if seen == 0 {
		e.Fault = e.Fault.Because("it has no signatures")
	} else {
		e.Fault = e.Fault.Because("none of its %d signatures is by one of the %d keys", seen, len(v.Keys))
	}
	return e.fix("sign it with drupe sign, or have the key accepted with --image-key")
}

// limited keeps the first bytes of what a program says.
type limited struct{ bytes.Buffer }

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if room := 2048 - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
