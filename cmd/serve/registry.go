package serve

import (
	"path/filepath"
	"regexp"
	"time"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/kernel/registry"
	"github.com/drupe-os/drupe/sdk"
)

// collectEvery is how often the registry drops what nothing needs.
const collectEvery = time.Hour

// openRegistry opens the cluster's registry in the server's data folder.
func (s *server) openRegistry() (err error) {
	s.images, err = registry.Open(filepath.Join(s.cfg.Data, "registry"), registry.Options{Live: s.liveImages})
	if err != nil {
		return err
	}
	s.swept = make(chan struct{})
	s.sweeping.Go(func() {
		t := time.NewTicker(collectEvery)
		defer t.Stop()
		for {
			select {
			case <-s.swept:
				return
			case <-t.C:
				if c, err := s.images.Collect(); err != nil {
					s.cfg.Log.Error("the registry", "error", err)
				} else if c.Manifests+c.Blobs > 0 {
					s.cfg.Log.Info("removed unneeded images", "manifests", c.Manifests, "blobs", c.Blobs, "bytes", c.Bytes)
				}
			}
		}
	})
	return nil
}

// pinned finds the digests of the cluster's images in a document's body.
var pinned = regexp.MustCompile(`"cluster/[a-z0-9._/-]+@(sha256:[0-9a-f]{64})"`)

// liveImages are the digests that documents name.
func (s *server) liveImages() []sdk.Digest {
	docs, _ := s.kernel.ListDocuments(gate.DocumentFilter{})
	var out []sdk.Digest
	for i := range docs {
		for _, m := range pinned.FindAllSubmatch(docs[i].Body, -1) {
			out = append(out, sdk.Digest(m[1]))
		}
	}
	return out
}
