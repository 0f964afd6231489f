package cli

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/archive"
	"github.com/drupe-os/drupe/sdk/session"
)

func (a *app) cp() *cobra.Command {
	sidecar := ""
	c := &cobra.Command{Use: "cp NAME:/PATH LOCAL | LOCAL NAME:/PATH", Short: "copy files into a task or out of it",
		Long: "Copies a file, or a folder with all that is in it, between this machine and a task, or\n" +
			"one of the running tasks of a service or job. Where the target is a folder, the copy\n" +
			"gets into it under its own name; where there is nothing, the copy gets the target's\n" +
			"name. FOLDER/. copies what is in a folder. Permissions and times are kept, owners not.\n\n" +
			"As LOCAL, - is a tar archive on standard input or output. A local name that has a colon\n" +
			"is written with its folder: ./a:b.",
		Example: "  drupe cp hello:/etc/hosts .\n  drupe cp site/. hello.4f:/srv/www\n" +
			"  drupe cp hello:/var/log - | tar t\n  tar c site | drupe cp - hello:/srv",
		Args: want(2, 2, "source or target"),
		RunE: func(c *cobra.Command, args []string) error {
			from, source, err := remote(c, args[0])
			if err != nil {
				return err
			}
			to, target, err := remote(c, args[1])
			switch {
			case err != nil:
				return err
			case from == "" && to == "":
				return usagef(c, "neither %s nor %s is in a task: write one as NAME:/PATH", args[0], args[1])
			case from != "" && to != "":
				return usagef(c, "both are in tasks: use drupe cp %s - | drupe cp - %s", args[0], args[1])
			case from != "" && args[1] == "-" && isTerminal(a.out):
				return usagef(c, "an archive is nothing for a terminal: write it to a file or a pipe")
			}
			p, err := a.place(c.Context(), from+to)
			if err != nil {
				return err
			}
			if from != "" {
				return p.get(c.Context(), &session.Request{Op: session.Get, Sidecar: sidecar, Path: source}, args[1])
			}
			return p.put(c.Context(), args[0], &session.Request{Op: session.Put, Sidecar: sidecar, Path: target, Input: true})
		}}
	c.Flags().StringVar(&sidecar, "sidecar", "", "the `name` of the sidecar whose files they are")
	return c
}

// remote takes NAME:/PATH apart; name is "" for a local file.
func remote(c *cobra.Command, arg string) (name, path string, err error) {
	name, path, ok := strings.Cut(arg, ":")
	if !ok || name == "" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "/") {
		return "", "", nil
	}
	if !strings.HasPrefix(path, "/") {
		return "", "", usagef(c, "%s: a path in a task begins with /, as in %s:/tmp; a local name with a colon with ./", arg, name)
	}
	return name, path, nil
}

// get copies out of the task.
func (p *place) get(ctx context.Context, q *session.Request, local string) error {
	if local == "-" {
		return p.carry(ctx, q, nil, p.out)
	}
	r, w := io.Pipe()
	unpacked := make(chan error, 1)
	go func() {
		err := archive.Unpack(r, local)
		r.CloseWithError(err)
		unpacked <- err
	}()
	err := p.carry(ctx, q, nil, w)
	w.CloseWithError(err)
	if later := <-unpacked; err == nil {
		err = later
	}
	return err
}

// put copies into the task.
func (p *place) put(ctx context.Context, local string, q *session.Request) error {
	if local == "-" {
		return p.carry(ctx, q, p.in, nil)
	}
	// What cannot be read ends the session: otherwise the task would wait for
	// the rest.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := archive.Pack(w, local)
		if err != nil && !errors.Is(err, io.ErrClosedPipe) {
			cancel(err)
		} else {
			w.Close()
		}
		packed <- err
	}()
	err := p.carry(ctx, q, r, nil)
	r.Close()
	<-packed
	return err
}

// carry holds a session that copies, shows how far it is, and returns what went
// wrong at either end.
func (p *place) carry(ctx context.Context, q *session.Request, in io.Reader, out io.Writer) error {
	conn, err := p.open(ctx, q)
	if err != nil {
		return cause(ctx, err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	m := p.meter()
	defer m.stop()
	if in != nil {
		in = io.TeeReader(in, m)
	} else {
		out = io.MultiWriter(out, m)
	}
	r, err := conn.Run(in, out, nil)
	switch {
	case err != nil && ctx.Err() != nil:
		return cause(ctx, err)
	case err == nil && r.Code != 0 && r.Error == nil:
		return sdk.Errorf(sdk.Internal, "task/"+string(p.task), "copying ended with code %d", r.Code)
	}
	return ended(r, err)
}

// cause returns why ctx is done, or else err.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}
