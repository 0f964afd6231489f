package wire

import (
	"github.com/tinylib/msgp/msgp"

	"github.com/drupe-os/drupe/sdk"
)

// maxDepth bounds how deep lists and maps may nest.
const maxDepth = 64

// Bounded checks MessagePack bytes from somebody who is not trusted, before
// they are decoded: decoders reserve memory for a list by the length it states,
// so a few bytes could ask for gigabytes. It fails for values that are cut off,
// that hold more than most elements together, or that nest too deep.
func Bounded(b []byte, most int) error {
	rest, err := walk(b, &most, maxDepth)
	if err == nil && len(rest) > 0 {
		err = sdk.Errorf(sdk.Corrupt, "record", "%d bytes too many", len(rest))
	}
	return err
}

// walk passes over one value.
func walk(b []byte, left *int, depth int) (rest []byte, err error) {
	var n, of uint32
	switch msgp.NextType(b) {
	case msgp.ArrayType:
		n, rest, err = msgp.ReadArrayHeaderBytes(b)
		of = n
	case msgp.MapType:
		n, rest, err = msgp.ReadMapHeaderBytes(b)
		of = 2 * n
	default:
		rest, err = msgp.Skip(b)
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Corrupt, "record", "malformed: %v", err)
	}
	if uint64(n) > uint64(len(rest)) || of < n {
		return nil, sdk.Errorf(sdk.Corrupt, "record", "%d elements in %d bytes", n, len(rest))
	}
	if *left -= int(n); *left < 0 {
		return nil, sdk.Errorf(sdk.TooLarge, "record", "too many elements")
	}
	if of > 0 && depth == 0 {
		return nil, sdk.Errorf(sdk.TooLarge, "record", "nested too deep")
	}
	for range of {
		if rest, err = walk(rest, left, depth-1); err != nil {
			return nil, err
		}
	}
	return rest, nil
}
