package image

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/drupe-os/drupe/sdk"
)

// counter digests and counts what is read through it, and refuses more than
// the stated size.
type counter struct {
	r      io.Reader
	sum    hash.Hash
	n      int64
	size   int64 // 0: not stated
	failed error
}

func newCounter(r io.Reader, size int64) *counter {
	return &counter{r: r, sum: sha256.New(), size: size}
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	if c.failed != nil {
		return 0, c.failed
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.sum.Write(p[:n])
	switch {
	case c.size > 0 && c.n > c.size:
		c.failed = failf(sdk.ReasonImageDigest, sdk.Corrupt, "a blob is longer than the %d bytes its manifest states", c.size).
			fix("the copy is damaged or was tampered with: build or push the image again")
		return 0, c.failed
	case err == io.ErrUnexpectedEOF:
		// A registry that hangs up early: the digest tells the rest.
		err = io.EOF
	case err != nil && err != io.EOF:
		c.failed = err
	}
	return n, err
}

func (c *counter) digest() sdk.Digest {
	return sdk.Digest("sha256:" + hex.EncodeToString(c.sum.Sum(nil)))
}
