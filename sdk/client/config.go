package client

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Context is how to reach one cluster, and as whom.
type Context struct {
	Address   string `json:"address"`    // "https://127.0.0.1:4600"
	CA        string `json:"ca"`         // PEM
	TokenFile string `json:"token_file"` // readable by its owner only
}

// contexts is the content of contexts.json.
type contexts struct {
	Current  string             `json:"current"`
	Contexts map[string]Context `json:"contexts"`
}

const contextsFile = "contexts.json"

// Folder returns where contexts are kept: $DRUPE_CONFIG, or drupe in the user's
// configuration folder.
func Folder(getenv func(string) string) string {
	if d := getenv("DRUPE_CONFIG"); d != "" {
		return d
	}
	if d := getenv("XDG_CONFIG_HOME"); d != "" {
		return filepath.Join(d, "drupe")
	}
	return filepath.Join(getenv("HOME"), ".config", "drupe")
}

// LoadContext reads the named context of a folder; "" is the current one.
// Errors: NotFound, Corrupt.
func LoadContext(folder, name string) (Context, error) {
	all, err := readContexts(folder)
	if err != nil {
		return Context{}, err
	}
	if name == "" {
		name = all.Current
	}
	if c, ok := all.Contexts[name]; ok {
		return c, nil
	}
	f := sdk.Errorf(sdk.NotFound, "context/"+name, "there is no such context").ToFix("start a cluster of your own with: drupe dev")
	if name == "" {
		f = sdk.Errorf(sdk.NotFound, "context", "no cluster is known yet").ToFix("start one of your own with: drupe dev")
	}
	if len(all.Contexts) > 0 {
		f.Because("known are: %s", strings.Join(slices.Sorted(maps.Keys(all.Contexts)), ", "))
	}
	return Context{}, f
}

// SaveContext writes a context and its token, readable by the user only, and
// makes it the current one. c.TokenFile is set to where the token went.
func SaveContext(folder, name string, c Context, token string) (Context, error) {
	if !sdk.ValidName(name) {
		return c, sdk.Errorf(sdk.Invalid, "context", "%q cannot be a name", name)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return c, unwritable(folder, err)
	}
	c.TokenFile = filepath.Join(folder, name+".token")
	if err := replaceFile(c.TokenFile, []byte(token+"\n")); err != nil {
		return c, unwritable(c.TokenFile, err)
	}
	all, err := readContexts(folder)
	if err != nil {
		return c, err
	}
	all.Contexts[name] = c
	all.Current = name
	return c, writeContexts(folder, all)
}

// RemoveContext takes a context and its token away, and with the last one the
// file and, when nothing else is in it, the folder. One that does not exist is no
// error.
func RemoveContext(folder, name string) error {
	all, err := readContexts(folder)
	if err != nil {
		return err
	}
	c, ok := all.Contexts[name]
	if !ok {
		return nil
	}
	if filepath.Dir(c.TokenFile) == filepath.Clean(folder) {
		if err := os.Remove(c.TokenFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unwritable(c.TokenFile, err)
		}
	}
	delete(all.Contexts, name)
	if all.Current == name {
		all.Current = ""
		for _, other := range slices.Sorted(maps.Keys(all.Contexts)) {
			all.Current = other
			break
		}
	}
	if len(all.Contexts) == 0 {
		path := filepath.Join(folder, contextsFile)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unwritable(path, err)
		}
		os.Remove(folder) // fails when there is more in it, as it should
		return nil
	}
	return writeContexts(folder, all)
}

// ReadToken reads a token file. Errors: NotFound; Denied for a file that others
// may read.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", sdk.Errorf(sdk.NotFound, path, "the token cannot be read").Because("%v", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", sdk.Errorf(sdk.Denied, path, "the token file may be read by others").
			Because("its mode is %#o", info.Mode().Perm()).ToFix("chmod 600 %s", path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", sdk.Errorf(sdk.NotFound, path, "the token cannot be read").Because("%v", err)
	}
	return strings.TrimSpace(string(b)), nil
}

func readContexts(folder string) (contexts, error) {
	all := contexts{Contexts: map[string]Context{}}
	path := filepath.Join(folder, contextsFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return all, sdk.Errorf(sdk.Corrupt, path, "the contexts cannot be read").Because("%v", err).ToFix("repair or remove the file")
	}
	if all.Contexts == nil {
		all.Contexts = map[string]Context{}
	}
	return all, nil
}

func writeContexts(folder string, all contexts) error {
	b, err := json.MarshalIndent(all, "", "  ")
	if err == nil {
		err = replaceFile(filepath.Join(folder, contextsFile), append(b, '\n'))
	}
	if err != nil {
		return unwritable(folder, err)
	}
	return nil
}

// replaceFile writes a file whole or not at all, for its owner only.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

func unwritable(path string, err error) error {
	return sdk.Errorf(sdk.Exhausted, path, "cannot be written").Because("%v", err)
}
