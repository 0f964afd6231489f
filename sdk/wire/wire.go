// Package wire is the one binary shape of everything Drupe sends or stores:
// MessagePack bodies (see package sdk) inside checked frames.
//
// A frame is: 4 bytes length of the body, 4 bytes CRC-32C of kind and body, 1
// byte kind, then the body; integers are little-endian. A frame whose checksum
// does not match is never handed out.
package wire

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/drupe-os/drupe/sdk"
)

// HeaderSize is the number of bytes before a frame's body.
const HeaderSize = 9

// MaxBody bounds a frame's body, so that a damaged length cannot make a reader
// reserve gigabytes.
const MaxBody = 16 << 20

var table = crc32.MakeTable(crc32.Castagnoli)

// Sum returns the CRC-32C of b, the checksum of all stored records.
func Sum(b []byte) uint32 { return crc32.Checksum(b, table) }

// Marshaler is what every generated type of package sdk is.
type Marshaler interface{ MarshalMsg([]byte) ([]byte, error) }

// Unmarshaler is what a pointer to every generated type of package sdk is.
type Unmarshaler interface{ UnmarshalMsg([]byte) ([]byte, error) }

// AppendFrame appends a frame of kind holding body to dst.
func AppendFrame(dst []byte, kind byte, body []byte) []byte {
	var h [HeaderSize]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(len(body)))
	h[8] = kind
	sum := crc32.Update(crc32.Checksum(h[8:9], table), table, body)
	binary.LittleEndian.PutUint32(h[4:], sum)
	return append(append(dst, h[:]...), body...)
}

// Write writes one frame of kind holding m. Errors: those of w, and TooLarge.
func Write(w io.Writer, kind byte, m Marshaler) error {
	body, err := m.MarshalMsg(nil)
	if err != nil {
		return sdk.Errorf(sdk.Internal, "frame", "encode: %v", err)
	}
	if len(body) > MaxBody {
		return sdk.Errorf(sdk.TooLarge, "frame", "%d bytes, more than %d", len(body), MaxBody)
	}
	_, err = w.Write(AppendFrame(make([]byte, 0, HeaderSize+len(body)), kind, body))
	return err
}

// Read reads one frame. The body is valid until the next call with the same
// buf, which is grown as needed. Errors: io.EOF between frames, Corrupt for a
// wrong checksum or length, else those of r.
func Read(r io.Reader, buf *[]byte) (kind byte, body []byte, err error) {
	var h [HeaderSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.LittleEndian.Uint32(h[0:]))
	if n > MaxBody {
		return 0, nil, sdk.Errorf(sdk.Corrupt, "frame", "length %d is over the bound %d", n, MaxBody)
	}
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	body = (*buf)[:n]
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	sum := crc32.Update(crc32.Checksum(h[8:9], table), table, body)
	if sum != binary.LittleEndian.Uint32(h[4:]) {
		return 0, nil, sdk.Errorf(sdk.Corrupt, "frame", "checksum does not match")
	}
	return h[8], body, nil
}

// Decode reads body into m whole. Errors: Corrupt for malformed or left-over
// bytes.
func Decode(body []byte, m Unmarshaler) error {
	rest, err := m.UnmarshalMsg(body)
	if err != nil {
		return sdk.Errorf(sdk.Corrupt, "record", "decode: %v", err)
	}
	if len(rest) > 0 {
		return sdk.Errorf(sdk.Corrupt, "record", "%d bytes too many", len(rest))
	}
	return nil
}
