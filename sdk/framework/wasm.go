//go:build wasip1

package framework

import (
	"unsafe"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/guest"
	"github.com/drupe-os/drupe/sdk/wire"
)

var (
	registered func() Framework
	running    Framework
	room       []byte // the host writes arguments here
	answer     []byte // kept referenced until the next call
)

// Register names the framework that this module is. It is called once, from an
// init function of the plugin's main package.
func Register(make func() Framework) { registered = make }

//go:wasmexport drupe_abi_framework_1
func marker() {}

//go:wasmexport drupe_buffer
func buffer(n uint32) uint32 {
	if uint32(cap(room)) < n || cap(room) == 0 {
		room = make([]byte, n, max(n, 4096))
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(room[:cap(room)]))))
}

//go:wasmexport drupe_start
func start(n uint32) uint64 {
	var in sdk.FrameworkStart
	decode(n, &in)
	running = registered()
	c := &Call{Now: in.World.Now}
	running.Start(&in.World, c)
	return reply(c)
}

//go:wasmexport drupe_call
func call(n uint32) uint64 {
	var in sdk.FrameworkCall
	decode(n, &in)
	c := &Call{Now: in.Now}
	running.Handle(in.Events, c)
	return reply(c)
}

// decode reads the argument. What the host wrote cannot be wrong unless it
// speaks another version, so an error ends the instance.
func decode(n uint32, to wire.Unmarshaler) {
	if err := wire.Decode(room[:n:n], to); err != nil {
		panic(err)
	}
}

func reply(c *Call) uint64 {
	a := sdk.FrameworkAnswer{Actions: c.Actions, Logs: c.Logs}
	b, err := a.MarshalMsg(answer[:0])
	if err != nil {
		panic(err)
	}
	answer = b
	return guest.Pack(b)
}
