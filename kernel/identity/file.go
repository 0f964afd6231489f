package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/token"
	"github.com/drupe-os/drupe/sdk/wire"
)

const (
	fileName = "identity"
	// fileKind is the kind of the frame in the file: its format's version.
	fileKind byte = 1
)

// record is the file's content.
type record struct {
	Cluster string         `json:"cluster"`
	CA      []byte         `json:"ca"`  // DER
	Key     []byte         `json:"key"` // PKCS #8
	Gossip  []byte         `json:"gossip"`
	Joins   []joinRecord   `json:"joins,omitempty"`
	People  []personRecord `json:"people,omitempty"`
}

type joinRecord struct {
	Hash     token.Hash `json:"hash"`
	Expires  sdk.Time   `json:"expires"`
	Reusable bool       `json:"reusable,omitempty"`
}

type personRecord struct {
	Hash    token.Hash `json:"hash"`
	Name    string     `json:"name"`
	Expires sdk.Time   `json:"expires,omitempty"` // 0: never
}

// load reads the file. Errors: fs.ErrNotExist, Corrupt, Denied when others may
// read it.
func load(path string) (*record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o077 != 0 {
		return nil, sdk.Errorf(sdk.Denied, path, "others than its owner may read it (mode %o)", st.Mode().Perm()).
			ToFix("it holds the cluster's key: chmod 600 it, and think about who may have read it")
	}
	var buf []byte
	kind, body, err := wire.Read(f, &buf)
	if err == nil {
		if _, extra := f.Read(make([]byte, 1)); extra != io.EOF {
			err = errors.New("it is longer than its frame")
		}
	}
	if err != nil {
		return nil, sdk.Errorf(sdk.Corrupt, path, "%w", err).ToFix("put the file back from a copy")
	}
	if kind != fileKind {
		return nil, sdk.Errorf(sdk.Unsupported, path, "written in format %d, this version reads %d", kind, fileKind)
	}
	r := &record{}
	if err := json.Unmarshal(body, r); err != nil {
		return nil, sdk.Errorf(sdk.Corrupt, path, "%w", err)
	}
	return r, nil
}

// save replaces the file: a crash leaves the old one or the new one.
func (r *record) save(path string) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeFile(path, wire.AppendFrame(nil, fileKind, body))
}

// writeFile replaces a secret file durably.
func writeFile(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return sdk.Errorf(sdk.Unavailable, path, "%w", err)
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			err = sdk.Errorf(sdk.Unavailable, path, "%w", err)
		}
	}()
	_, err = io.Copy(f, bytes.NewReader(content))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// WriteToken writes a token into a file that only its owner can read.
func WriteToken(path, secret string) error { return writeFile(path, []byte(secret+"\n")) }

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
