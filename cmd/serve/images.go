package serve

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/drupe-os/drupe/agent/identity"
	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

// openImages opens the node's images, fetched as its operator says.
func openImages(cfg agentConfig, id *identity.Identity) (*image.Store, error) {
	o := registry.Options{ClusterHTTP: &http.Transport{
		TLSClientConfig: id.TLS(), DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute, IdleConnTimeout: time.Minute,
		MaxIdleConnsPerHost: 8, DisableCompression: true}}
	for _, s := range cfg.Servers {
		o.Cluster = append(o.Cluster, "https://"+strings.TrimPrefix(s, "https://"))
	}
	var err error
	// Without the option, a file of this name in the data folder is used.
	auth := cfg.Images.Auth
	if own := filepath.Join(cfg.Data, "registry-auth.json"); auth == "" {
		if _, err := os.Stat(own); err == nil {
			auth = own
		}
	}
	if auth != "" {
		if o.Auth, err = registry.LoadAuth(auth); err != nil {
			return nil, err
		}
	}
	if cfg.Images.Registries != "" {
		if o.Hosts, err = registry.LoadHosts(cfg.Images.Registries); err != nil {
			return nil, err
		}
	}
	client, err := registry.New(o)
	if err != nil {
		return nil, err
	}
	verify := image.Verify{Program: cfg.Images.Verify}
	for _, file := range cfg.Images.Keys {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, sdk.Errorf(sdk.NotFound, file, "the key cannot be read: %w", err)
		}
		keys, err := oci.PublicKeys(text)
		if err != nil {
			return nil, err
		}
		verify.Keys = append(verify.Keys, keys...)
	}
	return image.Open(filepath.Join(cfg.Data, "images"), image.Options{Registry: client, Verify: verify})
}
