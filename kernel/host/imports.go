package host

import (
	"context"
	"encoding/binary"

	"github.com/tetratelabs/wazero/api"

	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/policy"
)

// hostModule is the module name of Drupe's own imports.
const hostModule = "drupe"

// hostFunction is one import, with its type.
type hostFunction struct {
	run             api.GoModuleFunc
	params, results []api.ValueType
}

// typed makes a hostFunction from letters: i for i32, I for i64.
func typed(params, results string, run api.GoModuleFunc) hostFunction {
	types := func(s string) (t []api.ValueType) {
		for _, c := range s {
			if c == 'I' {
				t = append(t, api.ValueTypeI64)
			} else {
				t = append(t, api.ValueTypeI32)
			}
		}
		return t
	}
	return hostFunction{run, types(params), types(results)}
}

// policyImports is all a policy may call; sdk/README.md says what each does.
// Rows and addresses are the plugin's word and are checked one by one: a wrong
// row is answered with a reason, a wrong address ends the call.
var policyImports = map[string]hostFunction{
	"log":         typed("ii", "", hostLog),
	"place":       typed("iii", "I", hostPlace),
	"place_on":    typed("iii", "I", hostPlaceOn),
	"candidates":  typed("iiii", "i", hostCandidates),
	"allocatable": typed("iiii", "i", hostAllocatable),
	"offer":       typed("iii", "i", hostOffer),
	"explain":     typed("ii", "", hostExplain),
}

// frameworkImports is all a framework may call.
var frameworkImports = map[string]hostFunction{
	"log": typed("ii", "", hostLog),
}

// indexed returns the instance of a call that is about demand, or ends a call
// that has no index: one made while the instance starts. ok is false for a row
// that is no demand.
func indexed(ctx context.Context, demand uint64) (in *instance, ok bool) {
	in = of(ctx)
	in.count()
	if in.index == nil {
		in.end(sdk.ReasonAnswerInvalid, "it asks for nodes outside a batch")
	}
	return in, uint32(demand) < in.demands
}

// packed joins how many were placed and why no more.
func packed(placed uint32, why sdk.Reason) uint64 { return uint64(placed)<<32 | uint64(why) }

func hostLog(ctx context.Context, mod api.Module, s []uint64) {
	in := of(ctx)
	in.count()
	in.out.line(string(in.bytes(mod, s[0], uint64(min(uint32(s[1]), 4<<10)))))
}

func hostPlace(ctx context.Context, _ api.Module, s []uint64) {
	in, ok := indexed(ctx, s[0])
	switch {
	case !ok:
		s[0] = packed(0, sdk.ReasonUnknownDemand)
	case uint32(s[2]) > uint32(policy.First):
		s[0] = packed(0, sdk.ReasonAnswerInvalid)
	default:
		s[0] = packed(in.index.Place(uint32(s[0]), uint32(s[1]), policy.Strategy(s[2])))
	}
}

func hostPlaceOn(ctx context.Context, _ api.Module, s []uint64) {
	in, ok := indexed(ctx, s[0])
	switch {
	case !ok:
		s[0] = packed(0, sdk.ReasonUnknownDemand)
	case uint32(s[1]) >= in.nodes:
		s[0] = packed(0, sdk.ReasonUnknownNode)
	default:
		s[0] = packed(in.index.PlaceOn(uint32(s[0]), uint32(s[1]), uint32(s[2])))
	}
}

func hostCandidates(ctx context.Context, mod api.Module, s []uint64) {
	in, ok := indexed(ctx, s[0])
	n := min(uint32(s[3]), in.nodes)
	out := in.bytes(mod, s[2], 4*uint64(n))
	if !ok || uint32(s[1]) > uint32(policy.First) || n == 0 {
		s[0] = 0
		return
	}
	if uint32(cap(in.rows)) < n {
		in.rows = make([]uint32, n)
	}
	found := in.index.Candidates(uint32(s[0]), policy.Strategy(s[1]), in.rows[:n])
	for i, row := range in.rows[:found] {
		binary.LittleEndian.PutUint32(out[4*i:], row)
	}
	s[0] = uint64(found)
}

func hostAllocatable(ctx context.Context, mod api.Module, s []uint64) {
	in, ok := indexed(ctx, s[0])
	room := 8 * uint64(in.dims)
	out, reserved := in.bytes(mod, s[2], room), in.bytes(mod, s[3], room)
	if why := rowFault(in, ok, s[1]); why != sdk.ReasonNone {
		s[0] = uint64(why)
		return
	}
	why := in.index.Allocatable(uint32(s[0]), uint32(s[1]), in.vectors[0], in.vectors[1])
	if why == sdk.ReasonNone {
		putVector(out, in.vectors[0])
		putVector(reserved, in.vectors[1])
	}
	s[0] = uint64(why)
}

func hostOffer(ctx context.Context, mod api.Module, s []uint64) {
	in, ok := indexed(ctx, s[0])
	amount := in.bytes(mod, s[2], 8*uint64(in.dims))
	why := rowFault(in, ok, s[1])
	for r := range in.vectors[0] {
		v := int64(binary.LittleEndian.Uint64(amount[8*r:]))
		in.vectors[0][r] = v
		if v < 0 {
			why = sdk.ReasonAnswerInvalid
		}
	}
	if why == sdk.ReasonNone {
		why = in.index.Offer(uint32(s[0]), uint32(s[1]), in.vectors[0])
	}
	s[0] = uint64(why)
}

func hostExplain(ctx context.Context, _ api.Module, s []uint64) {
	in, ok := indexed(ctx, s[0])
	// Only reasons for not being placed say anything here.
	if why := uint32(s[1]); ok && why >= 100 && why < 200 {
		in.index.Explain(uint32(s[0]), sdk.Reason(why))
	}
}

func rowFault(in *instance, demandOK bool, node uint64) sdk.Reason {
	switch {
	case !demandOK:
		return sdk.ReasonUnknownDemand
	case uint32(node) >= in.nodes:
		return sdk.ReasonUnknownNode
	}
	return sdk.ReasonNone
}

func putVector(out []byte, v []int64) {
	for r, x := range v {
		binary.LittleEndian.PutUint64(out[8*r:], uint64(x))
	}
}
