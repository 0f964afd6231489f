// Package client is the Go client of Drupe's HTTP API. The command line uses
// nothing else.
//
// Errors are *sdk.Fault, as the server made them, or Unavailable when the server
// could not be reached: then the request is safe to repeat.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// Client speaks to one cluster. It may be used by many goroutines at once.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// maxAnswer bounds an answer that is no stream.
const maxAnswer = 1 << 30

// New returns a client for a server at address ("https://127.0.0.1:4600"; the
// scheme may be left out) whose certificate was made by the CA, in PEM. token
// says who asks. Nothing is sent yet. Errors: Invalid.
func New(address, caPEM, token string) (*Client, error) {
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, sdk.Errorf(sdk.Invalid, "address", "%q is no address of a server", address).ToFix("write it as in https://127.0.0.1:4600")
	}
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout:   5 * time.Second,
		ResponseHeaderTimeout: 3 * time.Minute, // installing a plugin compiles it
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   4,
	}
	if u.Scheme == "https" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(caPEM)) {
			return nil, sdk.Errorf(sdk.Invalid, "ca", "holds no certificate in PEM")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
	}
	return &Client{base: strings.TrimRight(address, "/"), token: token, http: &http.Client{Transport: transport}}, nil
}

// Address returns where the client sends its requests.
func (c *Client) Address() string { return c.base }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call sends one request and decodes the answer into out, if any. It returns
// the log index of the answer, 0 where there is none.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) (uint64, error) {
	var body []byte
	contentType := ""
	switch in := in.(type) {
	case nil:
	case raw:
		body, contentType = in.body, in.contentType
	default:
		b, err := json.Marshal(in)
		if err != nil {
			return 0, sdk.Errorf(sdk.Invalid, "request", "%v", err)
		}
		body, contentType = b, "application/json"
	}
	resp, err := c.send(ctx, method, path, query, contentType, body, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, c.unreachable(ctx, err)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			return 0, sdk.Errorf(sdk.Internal, c.base, "the answer is not understood").Because("%v", err).
				ToFix("use a client of the server's version")
		}
	}
	index, _ := strconv.ParseUint(resp.Header.Get(sdk.IndexHeader), 10, 64)
	return index, nil
}

// raw is a request body that is not JSON.
type raw struct {
	contentType string
	body        []byte
}

// send sends one request and turns everything but success into a fault.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, contentType string, body []byte, header http.Header) (*http.Response, error) {
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return nil, sdk.Errorf(sdk.Invalid, u, "%v", err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for k, v := range header {
		r.Header[k] = v
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return nil, c.refused(resp.Status, b)
}

// refused turns an answer that is no success into a fault.
func (c *Client) refused(status string, body []byte) error {
	var p sdk.Problem
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return sdk.Errorf(sdk.Internal, c.base, "answered %s", status).ToFix("is it a Drupe server?")
	}
	return p.Fault()
}

// unreachable explains why there was no answer. When it is the caller who gave
// up, that is the error.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var unknown x509.UnknownAuthorityError
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	f := sdk.Errorf(sdk.Unavailable, c.base, "the cluster cannot be reached").Because("%v", err)
	if errors.As(err, &unknown) {
		return f.ToFix("the address now belongs to another cluster; use that one's context")
	}
	return f.ToFix("is the server running? Start one with: drupe dev")
}
