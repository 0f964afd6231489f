package registry

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// Hosts says how registries are reached. As a file it is JSON:
//
//	{"hosts": {
//	  "docker.io":           {"mirrors": ["mirror.example:5000/hub"]},
//	  "registry.example":    {"ca": "/etc/drupe/registry-ca.pem"},
//	  "10.0.0.7:5000":       {"plain": true}
//	}}
type Hosts struct {
	Hosts map[string]Host `json:"hosts"`
}

// Host is how one registry is reached.
type Host struct {
	// Mirrors are asked before it, in this order: "HOST" or "HOST/PREFIX", the
	// prefix standing before the repository's name.
	Mirrors []string `json:"mirrors,omitempty"`
	// OnlyMirrors: it is never asked itself.
	OnlyMirrors bool `json:"only_mirrors,omitempty"`
	// Plain: it speaks HTTP without TLS. No credentials are sent there unless
	// it is on this machine. A host on this machine is plain unless TLS or CA
	// says otherwise.
	Plain bool `json:"plain,omitempty"`
	TLS   bool `json:"tls,omitempty"`
	// CA is a file with certificates in PEM, believed beside the system's.
	CA string `json:"ca,omitempty"`
}

func (h *Hosts) of(host string) Host {
	if h == nil {
		return Host{}
	}
	return h.Hosts[host]
}

func (h *Hosts) all() map[string]Host {
	if h == nil {
		return nil
	}
	return h.Hosts
}

// maxConfig bounds a configuration file.
const maxConfig = 1 << 20

// LoadHosts reads a file of Hosts. Errors: NotFound, Invalid.
func LoadHosts(file string) (*Hosts, error) {
	var h Hosts
	if err := load(file, &h, true); err != nil {
		return nil, err
	}
	for name, host := range h.Hosts {
		if host.OnlyMirrors && len(host.Mirrors) == 0 {
			return nil, sdk.Errorf(sdk.Invalid, file, "only_mirrors without mirrors").At("hosts." + name)
		}
	}
	return &h, nil
}

func load(file string, v any, strict bool) error {
	f, err := os.Open(file)
	if err != nil {
		return sdk.Errorf(sdk.NotFound, file, "cannot be read: %w", err)
	}
	defer f.Close()
	d := json.NewDecoder(io.LimitReader(f, maxConfig))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(v); err != nil {
		return sdk.Errorf(sdk.Invalid, file, "is not what it should be: %v", err)
	}
	return nil
}

// Auth holds credentials by host. Its file is a docker config.json; of that,
// "auths" is read, credential helpers are not.
type Auth struct {
	by map[string]Credentials
}

// Credentials are how to log in at one host.
type Credentials struct {
	Username, Password string
	// Identity is a refresh token, exchanged where the registry says.
	Identity string
	// Bearer is sent as it is.
	Bearer string
}

// NewAuth returns credentials by host.
func NewAuth(by map[string]Credentials) *Auth { return &Auth{by: by} }

// LoadAuth reads a docker config.json. Errors: NotFound, Invalid.
func LoadAuth(file string) (*Auth, error) {
	var f struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			Username      string `json:"username"`
			Password      string `json:"password"`
			IdentityToken string `json:"identitytoken"`
			RegistryToken string `json:"registrytoken"`
		} `json:"auths"`
	}
	if err := load(file, &f, false); err != nil {
		return nil, err
	}
	a := &Auth{by: map[string]Credentials{}}
	for host, e := range f.Auths {
		c := Credentials{Username: e.Username, Password: e.Password, Identity: e.IdentityToken, Bearer: e.RegistryToken}
		if e.Auth != "" {
			b, err := base64.StdEncoding.DecodeString(e.Auth)
			name, password, ok := strings.Cut(string(b), ":")
			if err != nil || !ok {
				return nil, sdk.Errorf(sdk.Invalid, file, "what stands for %s is no login in base64", host).At("auths")
			}
			c.Username, c.Password = name, strings.TrimRight(password, "\x00")
		}
		a.by[hostOf(host)] = c
	}
	return a, nil
}

// hostOf reads the key of a config.json: a host, or an address of one.
func hostOf(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key, _, _ = strings.Cut(key, "/")
	if key == "index.docker.io" || key == "registry-1.docker.io" {
		return "docker.io"
	}
	return key
}

func (a *Auth) of(host string) (Credentials, bool) {
	if a == nil || host == "" {
		return Credentials{}, false
	}
	c, ok := a.by[host]
	return c, ok
}
