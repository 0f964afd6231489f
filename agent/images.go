package agent

import (
	"context"

	"github.com/drupe-os/drupe/agent/image"
	"github.com/drupe-os/drupe/sdk"
)

// fetched is what a task is made from: its own, which is empty for a program of
// the node's, and its sidecars', in their order.
type fetched struct {
	own      *image.Image
	sidecars []*image.Image
}

// resolve gets all that the template is made from onto the node. Errors: those
// of Images and of modules.
func (a *Agent) resolve(ctx context.Context, t *sdk.Template) (got *fetched, err error) {
	got = &fetched{own: &image.Image{}}
	switch {
	case t.Run.Wasm != nil:
		got.own, err = a.module(ctx, t.Run.Wasm.Module)
	case t.Run.Container != nil:
		got.own, err = a.cfg.Images.Resolve(ctx, t.Run.Container.Image)
	}
	for i := 0; i < len(t.Sidecars) && err == nil; i++ {
		var img *image.Image
		img, err = a.cfg.Images.Resolve(ctx, t.Sidecars[i].Container.Image)
		got.sidecars = append(got.sidecars, img)
	}
	return got, err
}
