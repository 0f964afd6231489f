// Command imagebuild builds an OCI layout folder without a container engine:
// from files of this machine, or from a Debian package and all it needs.
//
//	imagebuild -out DIR -tag T -file /bin/hello=bin/hello -entrypoint /bin/hello
//	imagebuild -out DIR -tag T -deb redis-server -entrypoint /usr/bin/redis-server
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/drupe-os/drupe/sdk/oci"
)

// list is a flag that may be given many times.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "imagebuild:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var files, dirs, links, env, entrypoint, cmd, packages list
	fs := flag.NewFlagSet("imagebuild", flag.ContinueOnError)
	out := fs.String("out", "", "layout folder to write into")
	tag := fs.String("tag", "latest", "tag in the layout")
	user := fs.String("user", "", "user to run as: uid, uid:gid or a name in the image")
	workdir := fs.String("workdir", "", "working folder")
	stop := fs.String("stop-signal", "", "polite signal, such as SIGINT")
	fs.Var(&files, "file", "IMAGEPATH=FILE: copy a file in (many)")
	fs.Var(&dirs, "dir", "IMAGEPATH[=UID:GID]: make a folder (many)")
	fs.Var(&links, "link", "IMAGEPATH=TARGET: make a symbolic link (many)")
	fs.Var(&env, "env", "NAME=VALUE (many)")
	fs.Var(&entrypoint, "entrypoint", "one word of the entry point (many)")
	fs.Var(&cmd, "cmd", "one word of the arguments (many)")
	fs.Var(&packages, "deb", "Debian package to unpack with all it depends on (many)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *out == "" || fs.NArg() > 0 {
		return fmt.Errorf("want -out and flags only; see -help")
	}
	spec := oci.Spec{
		Config: oci.Config{Entrypoint: entrypoint, Cmd: cmd, Env: env, User: *user, WorkingDir: *workdir, StopSignal: *stop},
		// The files are of this machine.
		Platform: oci.Platform{OS: "linux", Architecture: runtime.GOARCH},
	}
	if len(packages) > 0 {
		tmp, err := os.MkdirTemp("", "imagebuild-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		if spec.Files, err = debian(tmp, packages); err != nil {
			return err
		}
	}
	for _, f := range files {
		path, source, ok := strings.Cut(f, "=")
		if !ok {
			return fmt.Errorf("-file %s: want IMAGEPATH=FILE", f)
		}
		spec.Files = append(spec.Files, oci.File{Path: path, Source: source})
	}
	for _, l := range links {
		path, target, ok := strings.Cut(l, "=")
		if !ok {
			return fmt.Errorf("-link %s: want IMAGEPATH=TARGET", l)
		}
		spec.Files = append(spec.Files, oci.File{Path: path, Link: target})
	}
	for _, d := range dirs {
		path, owner, owned := strings.Cut(d, "=")
		f := oci.File{Path: path, Dir: true}
		if owned {
			if _, err := fmt.Sscanf(owner, "%d:%d", &f.UID, &f.GID); err != nil {
				return fmt.Errorf("-dir %s: want IMAGEPATH=UID:GID", d)
			}
		}
		spec.Files = append(spec.Files, f)
	}
	digest, err := oci.Build(*out, *tag, spec)
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}
