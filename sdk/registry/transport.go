package registry

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// transport makes connections; nil roots are the system's.
func transport(roots *x509.CertPool) http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   8,
		// Layers are compressed; asking for more would change what is digested.
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func loadCA(file string) (*x509.CertPool, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, sdk.Errorf(sdk.NotFound, file, "the registry's CA cannot be read: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(b) {
		return nil, sdk.Errorf(sdk.Invalid, file, "holds no certificate in PEM")
	}
	return pool, nil
}

// saidIn finds the registry's own words in an answer, shortened.
func saidIn(body []byte) string {
	var e struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &e) != nil || len(e.Errors) == 0 {
		return ""
	}
	text := strings.ToValidUTF8(e.Errors[0].Code+": "+e.Errors[0].Message, "")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return ": " + text
}
