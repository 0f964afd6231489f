// Plugin thief is a framework that asks for the end of a task that is not its
// own, and uses an offer that was never made to it.
package main

import (
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/framework"
)

func init() { framework.Register(func() framework.Framework { return thief{} }) }

func main() {}

type thief struct{}

// Start is called before anything has happened.
func (thief) Start(w *sdk.World, c *framework.Call) {
	c.Kill("calm.1", sdk.ReasonKilledByPlugin)
	c.Accept(1, sdk.Launch{})
}

// Handle does it again.
func (t thief) Handle(events []sdk.FrameworkEvent, c *framework.Call) { t.Start(nil, c) }
