package disk

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"

	bolt "go.etcd.io/bbolt"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/wire"
)

// encode returns key's record: checksum of key and body, then the body.
func encode(key []byte, m wire.Marshaler) ([]byte, error) {
	v, err := m.MarshalMsg(make([]byte, 4, 256))
	if err != nil {
		return nil, sdk.Errorf(sdk.Internal, "checkpoint", "encode %q: %v", key, err)
	}
	binary.LittleEndian.PutUint32(v, checksum(key, v[4:]))
	return v, nil
}

func checksum(key, body []byte) uint32 {
	both := make([]byte, 0, len(key)+1+len(body))
	return wire.Sum(append(append(append(both, key...), 0), body...))
}

func put(b *bolt.Bucket, key []byte, m wire.Marshaler) error {
	v, err := encode(key, m)
	if err != nil {
		return err
	}
	return b.Put(key, v)
}

// get checks and reads a record.
func get(key, v []byte, m wire.Unmarshaler) *sdk.Fault {
	damaged := func(why string) *sdk.Fault {
		return sdk.Errorf(sdk.Corrupt, "checkpoint", "record %q is damaged", key).Because("%s", why).
			ToFix("nothing: it is derived anew from the servers and the runtime; check this disk")
	}
	if len(v) < 4 {
		return damaged("it is too short")
	}
	if checksum(key, v[4:]) != binary.LittleEndian.Uint32(v) {
		return damaged("its checksum does not match")
	}
	if err := wire.Decode(v[4:], m); err != nil {
		return damaged(err.Error())
	}
	return nil
}

// writeFile replaces dir/name durably and whole.
func writeFile(dir, name string, b []byte) error {
	f, err := os.CreateTemp(dir, name+".tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func openFault(err error) error {
	switch {
	case errors.Is(err, bolt.ErrTimeout):
		return sdk.Errorf(sdk.Conflict, "checkpoint", "is in use").
			Because("another agent holds it").ToFix("stop that agent, or give this one its own data folder")
	case errors.Is(err, bolt.ErrInvalid), errors.Is(err, bolt.ErrChecksum), errors.Is(err, bolt.ErrVersionMismatch):
		return sdk.Errorf(sdk.Corrupt, "checkpoint", "%w", err)
	}
	return fault(err, "open")
}

// fault makes err one for people; nil stays nil.
func fault(err error, doing string) error {
	var f *sdk.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return sdk.Errorf(sdk.Exhausted, "checkpoint", "%s: the disk is full: %w", doing, err).
			ToFix("free space under the agent's data folder; nothing was lost, it tries again")
	}
	return sdk.Errorf(sdk.Unavailable, "checkpoint", "%s: %w", doing, err)
}
