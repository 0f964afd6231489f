package registry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/drupe-os/drupe/sdk"
)

// Collect removes what nothing needs: manifests that no tag, no document and no
// other manifest leads to, and content of no manifest. What came or was asked
// for within the grace stays, as does what is being uploaded. Uploads and
// readers wait meanwhile; who reads a blob already reads it to its end.
func (r *Registry) Collect() (sdk.Collected, error) {
	r.names.Lock()
	defer r.names.Unlock()
	var out sdk.Collected
	live := map[sdk.Digest]bool{}
	if r.o.Live != nil {
		for _, d := range r.o.Live() {
			live[d] = true
		}
	}
	repos, err := r.repos()
	if err != nil {
		return out, failed(err)
	}
	needed := map[string]bool{} // blobs, by hex
	for _, repo := range repos {
		if err := r.collectRepo(repo, live, needed, &out); err != nil {
			return out, failed(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(r.dir, "blobs/sha256"))
	if err != nil {
		return out, failed(err)
	}
	for _, e := range entries {
		at := filepath.Join(r.dir, "blobs/sha256", e.Name())
		info, err := e.Info()
		if err != nil || needed[e.Name()] || young(at, r.o.Grace) {
			continue
		}
		if err := os.Remove(at); err != nil {
			return out, failed(err)
		}
		r.used.Add(-info.Size())
		out.Blobs++
		out.Bytes += info.Size()
	}
	return out, nil
}

func failed(err error) error {
	return sdk.Errorf(sdk.Unavailable, "registry", "collecting broke off: %w", err)
}

// collectRepo removes a repository's unneeded manifests, and notes which blobs
// the others need.
func (r *Registry) collectRepo(repo string, live map[sdk.Digest]bool, needed map[string]bool, out *sdk.Collected) error {
	all := map[sdk.Digest]*entry{}
	list, err := os.ReadDir(r.in(repo, "_manifests"))
	if err != nil {
		return err
	}
	keep := map[sdk.Digest]bool{}
	var queue []sdk.Digest
	add := func(d sdk.Digest) {
		if !keep[d] && all[d] != nil {
			keep[d] = true
			queue = append(queue, d)
		}
	}
	for _, f := range list {
		d := sdk.Digest("sha256:" + f.Name())
		e, err := r.entry(repo, d)
		if err != nil {
			return err
		}
		all[d] = e
	}
	tags, err := r.tags(repo)
	if err != nil {
		return err
	}
	for _, d := range tags {
		add(d)
	}
	for d := range all {
		if live[d] || young(r.in(repo, "_manifests", hexOf(d)), r.o.Grace) {
			add(d)
		}
	}
	referring := map[sdk.Digest][]sdk.Digest{}
	for d, e := range all {
		if e.Subject != "" {
			referring[e.Subject] = append(referring[e.Subject], d)
		}
	}
	for len(queue) > 0 {
		d := queue[0]
		queue = queue[1:]
		for _, h := range all[d].Holds {
			add(h)
		}
		for _, h := range referring[d] {
			add(h)
		}
	}
	own := map[string]bool{}
	for d, e := range all {
		if !keep[d] {
			if err := r.unlist(repo, d); err != nil {
				return err
			}
			out.Manifests++
			continue
		}
		needed[hexOf(d)] = true
		for _, b := range e.Needs {
			needed[hexOf(b)], own[hexOf(b)] = true, true
		}
	}
	marks, err := os.ReadDir(r.in(repo, "_blobs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, m := range marks {
		at := r.in(repo, "_blobs", m.Name())
		if own[m.Name()] || young(at, r.o.Grace) || young(filepath.Join(r.dir, "blobs/sha256", m.Name()), r.o.Grace) {
			continue
		}
		if err := os.Remove(at); err != nil {
			return err
		}
	}
	return nil
}

// Used returns how many bytes the content has.
func (r *Registry) Used() int64 { return r.used.Load() }
