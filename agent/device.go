package agent

import (
	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// Devices hands the machine's devices over to containers.
type Devices interface {
	// Grant returns what the containers of a task get for what it holds: the
	// devices it names and no others. Errors: a fault that says which device
	// cannot be given.
	Grant(held []sdk.DeviceBinding) (*isolation.Grant, error)
}

// grant adds to a task's containers what its devices come to. Errors: a fault,
// when one of them is not to be had.
func (a *Agent) grant(as *sdk.Assignment, spec *isolation.Spec) error {
	if len(as.Devices) == 0 {
		return nil
	}
	if a.cfg.Devices == nil {
		return sdk.Errorf(sdk.Unavailable, "device/"+as.Devices[0].ID, "this node hands out no devices")
	}
	g, err := a.cfg.Devices.Grant(as.Devices)
	if err != nil {
		return err
	}
	g.AddTo(spec)
	return nil
}
