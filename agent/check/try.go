package check

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// tries runs checks once.
type tries struct{ exec Exec }

// transport makes one connection per check and keeps none: a check must see
// whether a new client gets through.
func transport(t *tls.Config, h2 bool) *http.Client {
	tr := &http.Transport{DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: t.Clone(), Protocols: new(http.Protocols)}
	if h2 {
		tr.Protocols.SetHTTP2(t != nil)
		tr.Protocols.SetUnencryptedHTTP2(t == nil)
	} else {
		tr.Protocols.SetHTTP1(true)
	}
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Certificates of tasks are their own affair unless the check names a server.
var (
	anyCertificate = &tls.Config{InsecureSkipVerify: true}

	plain   = transport(nil, false)
	secure  = transport(anyCertificate, false)
	grpc    = transport(nil, true)
	grpcTLS = transport(anyCertificate, true)
)

// try runs one check once.
func (r tries) try(ctx context.Context, t *Target, c *sdk.Check) error {
	switch {
	case c.Command != nil:
		return r.command(ctx, t, c.Command)
	case c.TCP != nil:
		addr, err := t.address(c.TCP.Port)
		if err != nil {
			return err
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	case c.HTTP != nil:
		return t.get(ctx, plain, "http", c.HTTP.Port, c.HTTP.Path)
	case c.HTTPS != nil:
		client := secure
		if name := c.HTTPS.ServerName; name != "" {
			client = transport(&tls.Config{ServerName: name}, false)
		}
		return t.get(ctx, client, "https", c.HTTPS.Port, c.HTTPS.Path)
	case c.GRPC != nil:
		return t.grpcHealth(ctx, c.GRPC)
	}
	return errors.New("this node does not know checks of this kind")
}

// address is where a port of the task is reached.
func (t *Target) address(name string) (string, error) {
	for _, p := range t.Ports {
		if p.Name == name {
			return net.JoinHostPort(t.Host, strconv.Itoa(int(p.Port))), nil
		}
	}
	return "", fmt.Errorf("the task has no port %q", name)
}

// get succeeds on an answer that is no error.
func (t *Target) get(ctx context.Context, client *http.Client, scheme, port, path string) error {
	addr, err := t.address(port)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+addr+"/"+strings.TrimPrefix(path, "/"), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "drupe-check")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("answered %s", resp.Status)
	}
	return nil
}

// grpcHealth asks grpc.health.v1.Health. The two messages are one field each,
// which is all of protocol buffers that is needed.
func (t *Target) grpcHealth(ctx context.Context, c *sdk.GRPCCheck) error {
	addr, err := t.address(c.Port)
	if err != nil {
		return err
	}
	client, scheme := grpc, "http"
	if c.TLS {
		client, scheme = grpcTLS, "https"
	}
	var message []byte // HealthCheckRequest: string service = 1
	if c.Service != "" {
		message = binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(c.Service)))
		message = append(message, c.Service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+addr+"/grpc.health.v1.Health/Check",
		bytes.NewReader(append(frame, message...)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	req.Header.Set("User-Agent", "drupe-check")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	trailer := func(name string) string {
		if v := resp.Trailer.Get(name); v != "" {
			return v
		}
		return resp.Header.Get(name) // an answer without a message has them in front
	}
	if status := trailer("Grpc-Status"); status != "0" {
		text, err := url.PathUnescape(trailer("Grpc-Message"))
		if err != nil {
			text = trailer("Grpc-Message")
		}
		return fmt.Errorf("answered with gRPC status %q: %s", status, text)
	}
	return serving(body)
}

// serving reads a HealthCheckResponse: ServingStatus status = 1.
func serving(frame []byte) error {
	if len(frame) < 5 || frame[0] != 0 || int(binary.BigEndian.Uint32(frame[1:])) != len(frame)-5 {
		return errors.New("answered with what is no gRPC message")
	}
	status := uint64(0)
	if m := frame[5:]; len(m) > 0 {
		v, n := binary.Uvarint(m[1:])
		if m[0] != 1<<3 || n <= 0 {
			return errors.New("answered with what is no health")
		}
		status = v
	}
	names := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
	switch {
	case status == 1:
		return nil
	case status < uint64(len(names)):
		return fmt.Errorf("answered %s", names[status])
	}
	return fmt.Errorf("answered with the unknown health %d", status)
}

// command succeeds when the program exits with 0.
func (r tries) command(ctx context.Context, t *Target, c *sdk.CommandCheck) error {
	if r.exec == nil {
		return errors.New("this node runs no programs in containers")
	}
	code, err := r.exec(ctx, t.Task, c.Command)
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("%s ended with exit code %d", c.Command[0], code)
	}
	return nil
}
