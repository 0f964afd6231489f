package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/client"
	"github.com/drupe-os/drupe/sdk/oci"
	"github.com/drupe-os/drupe/sdk/registry"
)

// registryFlags say how registries are reached.
type registryFlags struct{ auth, config string }

func (r *registryFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&r.auth, "registry-auth", "", "`file` with logins (default: docker's own, if there is one)")
	f.StringVar(&r.config, "registry-config", "", "`file` with registries' mirrors and CAs, in JSON")
}

// registry returns a client of registries, the cluster's own among them when
// one is known.
func (a *app) registry(r registryFlags, needCluster bool) (*registry.Client, error) {
	var o registry.Options
	c, err := a.contextOf()
	if err == nil {
		err = clusterRegistry(c, &o)
	}
	if err != nil && needCluster {
		return nil, err
	}
	if home := a.getenv("HOME"); r.auth == "" && home != "" {
		own := filepath.Join(home, ".docker", "config.json")
		if _, err := os.Stat(own); err == nil {
			r.auth = own
		}
	}
	if r.auth != "" {
		if o.Auth, err = registry.LoadAuth(r.auth); err != nil {
			return nil, err
		}
	}
	if r.config != "" {
		if o.Hosts, err = registry.LoadHosts(r.config); err != nil {
			return nil, err
		}
	}
	return registry.New(o)
}

func clusterRegistry(c client.Context, o *registry.Options) (err error) {
	if o.ClusterToken, err = client.ReadToken(c.TokenFile); err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.CA)) {
		return sdk.Errorf(sdk.Invalid, "ca", "holds no certificate in PEM")
	}
	base := strings.TrimRight(c.Address, "/")
	if !strings.Contains(base, "://") {
		base = "https://" + base
	}
	o.Cluster = []string{base}
	o.ClusterHTTP = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13},
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 2 * time.Minute, DisableCompression: true}
	return nil
}

// clusterName reads NAME[:TAG] of the cluster's registry; "cluster/" may stand
// before it.
func clusterName(s string) (registry.Name, string, error) {
	return registry.ParseName(registry.ClusterHost + "/" + strings.TrimPrefix(s, registry.ClusterHost+"/"))
}

func (a *app) push() *cobra.Command {
	return &cobra.Command{Use: "push SOURCE NAME[:TAG]", Short: "put an image or a module into the cluster",
		Long: "Copies an OCI layout's folder, an archive (of one, or of docker save) or a .wasm file\n" +
			"into the cluster's registry, and prints the reference that a document needs.",
		Example: "  drupe push ./image shop/web:v1\n  drupe push app.wasm tools/app", Args: want(2, 2, "SOURCE or NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			from, err := originOf(args[0])
			if err != nil {
				return err
			}
			cl, err := a.registry(registryFlags{}, true)
			if err != nil {
				return err
			}
			return a.put(c.Context(), cl, from, args[1])
		}}
}

// put copies into the cluster's registry and prints the reference.
func (a *app) put(ctx context.Context, cl *registry.Client, from origin, name string) error {
	to, tag, err := clusterName(name)
	if err != nil {
		return err
	}
	if oci.ValidDigest(sdk.Digest(tag)) {
		return sdk.Errorf(sdk.Invalid, name, "a digest follows from the content").ToFix("give a tag, or none")
	}
	if tag == "" {
		tag = "latest"
	}
	d, err := a.copy(ctx, &copying{from: from, c: cl, to: to}, tag)
	if err != nil {
		return err
	}
	ref := to.String() + "@" + string(d)
	return a.result(map[string]string{"image": ref}, func() { fmt.Fprintln(a.out, ref) })
}

func (a *app) image() *cobra.Command {
	var r registryFlags
	resolve := &cobra.Command{Use: "resolve HOST/NAME:TAG", Short: "the digest that a tag stands for",
		Example: "  drupe image resolve docker.io/library/redis:7\n  drupe image resolve cluster/shop/web:v1", Args: want(1, 1, "HOST/NAME:TAG"),
		RunE: func(c *cobra.Command, args []string) error {
			cl, err := a.registry(r, false)
			if err != nil {
				return err
			}
			ref, err := resolved(c.Context(), cl, args[0])
			if err != nil {
				return err
			}
			return a.result(map[string]string{"image": ref}, func() { fmt.Fprintln(a.out, ref) })
		}}
	r.flags(resolve.Flags())
	fetch := &cobra.Command{Use: "import HOST/NAME:TAG [NAME[:TAG]]", Short: "copy an image of another registry",
		Example: "  drupe image import docker.io/library/redis:7 redis:7", Args: want(1, 2, "HOST/NAME:TAG"),
		RunE: func(c *cobra.Command, args []string) error {
			n, ref, err := registry.ParseName(args[0])
			if err != nil {
				return err
			}
			to := n.Repo
			if ref == "" {
				ref = "latest"
			} else if !oci.ValidDigest(sdk.Digest(ref)) {
				to += ":" + ref
			}
			if len(args) > 1 {
				to = args[1]
			}
			cl, err := a.registry(r, true)
			if err != nil {
				return err
			}
			return a.put(c.Context(), cl, distant{cl, n, ref}, to)
		}}
	r.flags(fetch.Flags())
	return noun("image", "the cluster's images", "  drupe image ls\n  drupe image resolve cluster/shop/web:v1\n  drupe image gc",
		&cobra.Command{Use: "ls", Aliases: lsAliases, Short: "list the images of the cluster's registry",
			Example: "  drupe image ls", Args: want(0, 0, ""),
			RunE: func(c *cobra.Command, _ []string) error { return a.listImages(c.Context()) }},
		&cobra.Command{Use: "inspect NAME[:TAG]", Aliases: []string{"show", "get"}, Short: "an image's manifest",
			Example: "  drupe image inspect shop/web:v1", Args: want(1, 1, "NAME"),
			RunE: func(c *cobra.Command, args []string) error { return a.inspectImage(c.Context(), args[0]) }},
		resolve, fetch,
		&cobra.Command{Use: "rm NAME:TAG", Aliases: rmAliases, Short: "take a tag, or an image by digest, away",
			Example: "  drupe image rm shop/web:v1", Args: want(1, 1, "NAME:TAG"),
			RunE: func(c *cobra.Command, args []string) error {
				n, ref, err := clusterName(args[0])
				if err != nil {
					return err
				}
				if ref == "" {
					return usagef(c, "a tag or digest is missing: %s:TAG", args[0])
				}
				cl, err := a.registry(registryFlags{}, true)
				if err != nil {
					return err
				}
				if err := cl.Delete(c.Context(), n, ref); err != nil {
					return err
				}
				a.progress("removed; drupe image gc frees its space when nothing needs it")
				return nil
			}},
		&cobra.Command{Use: "gc", Short: "remove what no tag and no document needs",
			Example: "  drupe image gc", Args: want(0, 0, ""),
			RunE: func(c *cobra.Command, _ []string) error {
				cl, err := a.connect()
				if err != nil {
					return err
				}
				out, err := cl.CollectImages(c.Context())
				if err != nil {
					return err
				}
				return a.result(out, func() {
					fmt.Fprintf(a.out, "removed %d images and %d blobs, %s\n", out.Manifests, out.Blobs, sdk.FormatBytes(out.Bytes))
				})
			}})
}

// resolved returns a reference by digest.
func resolved(ctx context.Context, cl *registry.Client, s string) (string, error) {
	n, ref, err := registry.ParseName(s)
	if err != nil {
		return "", err
	}
	if ref == "" {
		ref = "latest"
	}
	b, _, err := cl.Manifest(ctx, n, ref)
	if err != nil {
		return "", err
	}
	return n.String() + "@" + string(oci.DigestOf(b)), nil
}

// imageRow is one tag of the cluster's registry.
type imageRow struct {
	Name   string     `json:"name"`
	Tag    string     `json:"tag"`
	Digest sdk.Digest `json:"digest"`
	Type   string     `json:"type"` // "image", "index", or the artifact's type
	Size   int64      `json:"size"` // bytes as sent
}

func (a *app) listImages(ctx context.Context) error {
	cl, err := a.registry(registryFlags{}, true)
	if err != nil {
		return err
	}
	repos, err := cl.Catalog(ctx, registry.ClusterHost)
	if err != nil {
		return err
	}
	rows := []imageRow{}
	for _, repo := range repos {
		n := registry.Name{Host: registry.ClusterHost, Repo: repo}
		tags, err := cl.Tags(ctx, n)
		if err != nil {
			return err
		}
		for _, tag := range tags {
			b, _, err := cl.Manifest(ctx, n, tag)
			if err != nil {
				return err
			}
			rows = append(rows, rowOf(repo, tag, b))
		}
	}
	return a.result(rows, func() {
		t := newTable("NAME", "TAG", "TYPE", "SIZE", "DIGEST")
		for _, r := range rows {
			t.add(r.Name, r.Tag, r.Type, sdk.FormatBytes(r.Size>>10<<10), string(r.Digest))
		}
		a.write(t)
	})
}

func rowOf(repo, tag string, manifest []byte) imageRow {
	r := imageRow{Name: repo, Tag: tag, Digest: oci.DigestOf(manifest), Type: "image"}
	var p parts
	if json.Unmarshal(manifest, &p) != nil {
		return r
	}
	if p.ArtifactType != "" {
		r.Type = p.ArtifactType
	}
	if len(p.Manifests) > 0 {
		r.Type = "index"
	}
	for _, l := range p.Layers {
		r.Size += l.Size
	}
	return r
}

func (a *app) inspectImage(ctx context.Context, name string) error {
	n, ref, err := clusterName(name)
	if err != nil {
		return err
	}
	if ref == "" {
		ref = "latest"
	}
	cl, err := a.registry(registryFlags{}, true)
	if err != nil {
		return err
	}
	b, _, err := cl.Manifest(ctx, n, ref)
	if err != nil {
		return err
	}
	r := rowOf(n.Repo, ref, b)
	signatures, err := cl.Referrers(ctx, n, r.Digest, oci.TypeSignature)
	if err != nil {
		return err
	}
	return a.result(map[string]any{"digest": r.Digest, "manifest": json.RawMessage(b), "signatures": len(signatures)}, func() {
		a.fields("image", n.String()+"@"+string(r.Digest), "type", r.Type, "size", sdk.FormatBytes(r.Size),
			"signatures", number(int64(len(signatures))))
	})
}

func (a *app) sign() *cobra.Command {
	var r registryFlags
	var file string
	c := &cobra.Command{Use: "sign REFERENCE --key FILE", Short: "sign an image or a module",
		Long: "Puts an ed25519 signature of the manifest beside it, in its registry. Nodes started with\n" +
			"--image-key run only what is signed.",
		Example: "  drupe key new release\n  drupe sign cluster/shop/web:v1 --key release", Args: want(1, 1, "REFERENCE"),
		RunE: func(c *cobra.Command, args []string) error {
			if file == "" {
				return usagef(c, "--key FILE is missing")
			}
			return a.signImage(c.Context(), r, args[0], file)
		}}
	c.Flags().StringVar(&file, "key", "", "`file` with the private key")
	r.flags(c.Flags())
	return c
}

func (a *app) signImage(ctx context.Context, r registryFlags, name, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return sdk.Errorf(sdk.NotFound, file, "the key cannot be read").Because("%v", err)
	}
	key, err := oci.PrivateKey(text)
	if err != nil {
		return err
	}
	n, ref, err := registry.ParseName(name)
	if err != nil {
		return err
	}
	if ref == "" {
		ref = "latest"
	}
	cl, err := a.registry(r, n.Host == registry.ClusterHost)
	if err != nil {
		return err
	}
	b, mediaType, err := cl.Manifest(ctx, n, ref)
	if err != nil {
		return err
	}
	d := oci.DigestOf(b)
	m, payload, err := oci.Sign(key, oci.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(b))})
	if err != nil {
		return err
	}
	for _, blob := range [][]byte{[]byte(oci.EmptyJSON), payload} {
		err := cl.PutBlob(ctx, n, oci.Descriptor{Digest: oci.DigestOf(blob), Size: int64(len(blob))},
			func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(blob))), nil })
		if err != nil {
			return err
		}
	}
	if _, err := cl.PutManifest(ctx, n, string(oci.DigestOf(m)), oci.TypeManifest, m); err != nil {
		return err
	}
	signed := n.String() + "@" + string(d)
	return a.result(map[string]string{"image": signed}, func() { fmt.Fprintf(a.out, "%s signed\n", signed) })
}

func (a *app) key() *cobra.Command {
	return noun("key", "keys to sign with", "  drupe key new release",
		&cobra.Command{Use: "new FILE", Short: "make a key pair", Long: "Writes a private ed25519 key to FILE and its public one to FILE.pub. Neither may exist.",
			Example: "  drupe key new release", Args: want(1, 1, "FILE"),
			RunE: func(_ *cobra.Command, args []string) error {
				private, public, err := oci.NewKey()
				if err != nil {
					return err
				}
				for _, f := range []struct {
					name string
					mode fs.FileMode
					text []byte
				}{{args[0], 0o600, private}, {args[0] + ".pub", 0o644, public}} {
					w, err := os.OpenFile(f.name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.mode)
					if err != nil {
						return sdk.Errorf(sdk.Conflict, f.name, "cannot be made").Because("%v", err)
					}
					_, err = w.Write(f.text)
					if err := errors.Join(err, w.Sync(), w.Close()); err != nil {
						return sdk.Errorf(sdk.Unavailable, f.name, "%w", err)
					}
				}
				keys, err := oci.PublicKeys(public)
				if err != nil {
					return err
				}
				id := oci.KeyID(keys[0])
				return a.result(map[string]string{"id": id}, func() { fmt.Fprintf(a.out, "key %s in %s and %s.pub\n", id, args[0], args[0]) })
			}})
}
