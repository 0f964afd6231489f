package replica

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/drupe-os/drupe/sdk"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealSize is the number of bytes that seal adds to a value.
const sealSize = 4

// seal appends to value the CRC-32C of bucket, key and value. The bucket's name
// is part of it, so that a damaged pointer which leads into another bucket's
// pages is noticed as well.
func seal(bucket string, key, value []byte) []byte {
	return binary.LittleEndian.AppendUint32(value, sumOf(bucket, key, value))
}

func sumOf(bucket string, key, value []byte) uint32 {
	sum := crc32.Update(crc32.Checksum([]byte(bucket), castagnoli), castagnoli, key)
	return crc32.Update(sum, castagnoli, value)
}

// unseal returns the value under a seal. Errors: Corrupt, naming file, bucket
// and key.
func unseal(file, bucket string, key, sealed []byte) ([]byte, error) {
	n := len(sealed) - sealSize
	if n < 0 {
		return nil, corrupt(file, "bucket %s, key %x: record is cut short", bucket, key)
	}
	if sumOf(bucket, key, sealed[:n]) != binary.LittleEndian.Uint32(sealed[n:]) {
		return nil, corrupt(file, "bucket %s, key %x: checksum does not match", bucket, key)
	}
	return sealed[:n], nil
}

// corrupt is the fault for stored data that is not what was written.
func corrupt(file, format string, args ...any) *sdk.Fault {
	return sdk.Errorf(sdk.Corrupt, file, format, args...).
		ToFix("put the data folder back from a copy, or remove this server from the cluster and let it join again with an empty folder")
}

// A tally says what a bucket must hold: how many records, the sum of their
// seals, and the lowest and highest key of a bucket keyed by numbers. It is
// written in the same transaction as the records, in another bucket, so a page
// that went missing or turned into an older one is noticed although each of its
// records has a good seal.
type tally struct {
	count, sum, first, last uint64
}

const tallySize = 4 * 8

func (t tally) encode() []byte {
	b := make([]byte, 0, tallySize+sealSize)
	for _, v := range [4]uint64{t.count, t.sum, t.first, t.last} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func decodeTally(file, bucket string, b []byte) (t tally, err error) {
	if len(b) != tallySize {
		return t, corrupt(file, "tally of bucket %s has %d bytes, not %d", bucket, len(b), tallySize)
	}
	for i, p := range [4]*uint64{&t.count, &t.sum, &t.first, &t.last} {
		*p = binary.LittleEndian.Uint64(b[i*8:])
	}
	return t, nil
}

// add counts a sealed record in, remove counts it out. Neither moves the ends.
func (t *tally) add(sealed []byte)    { t.count++; t.sum += sealOf(sealed) }
func (t *tally) remove(sealed []byte) { t.count--; t.sum -= sealOf(sealed) }

func sealOf(sealed []byte) uint64 {
	if len(sealed) < sealSize {
		return 0
	}
	return uint64(binary.LittleEndian.Uint32(sealed[len(sealed)-sealSize:]))
}

// number is the key of a record that is found by a number: big-endian, so that
// keys sort as the numbers do.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
