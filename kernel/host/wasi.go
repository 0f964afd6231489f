package host

import (
	"context"
	"encoding/binary"

	"github.com/tetratelabs/wazero/api"

	"github.com/drupe-os/drupe/sdk"
)

// wasiModule is the system interface that compilers' runtimes expect. Plugins
// get just enough of it to start, and nothing that reaches outside or differs
// from run to run.
const wasiModule = "wasi_snapshot_preview1"

// Error numbers of that interface.
const (
	errnoSuccess    = 0
	errnoBadFile    = 8
	errnoInvalid    = 28
	errnoNotCapable = 76
)

// The clock of a policy, and of an instance that starts: one second after the
// epoch, because Go's runtime takes 0 for a clock that does not work.
const firstMoment = 1_000_000_000

// firstRandom seeds every instance's random source.
const firstRandom = 0x9e3779b97f4a7c15

// wasiFunctions are those that are there. What is only denied is there too,
// because runtimes import it without using it.
var wasiFunctions = map[string]hostFunction{
	"args_sizes_get":      typed("ii", "i", wasiNoStrings),
	"args_get":            typed("ii", "i", wasiSucceed),
	"environ_sizes_get":   typed("ii", "i", wasiNoStrings),
	"environ_get":         typed("ii", "i", wasiSucceed),
	"clock_res_get":       typed("ii", "i", wasiClockRes),
	"clock_time_get":      typed("iIi", "i", wasiClockTime),
	"random_get":          typed("ii", "i", wasiRandom),
	"sched_yield":         typed("", "i", wasiYield),
	"proc_exit":           typed("i", "", wasiExit),
	"poll_oneoff":         typed("iiii", "i", wasiPoll),
	"fd_write":            typed("iiii", "i", wasiWrite),
	"fd_fdstat_get":       typed("ii", "i", wasiFdstat),
	"fd_fdstat_set_flags": typed("ii", "i", wasiSucceed),
	"fd_close":            typed("i", "i", wasiBadFile),
	"fd_prestat_get":      typed("ii", "i", wasiBadFile),
	"fd_prestat_dir_name": typed("iii", "i", wasiBadFile),
	"fd_read":             typed("iiii", "i", wasiBadFile),
	"fd_seek":             typed("iIii", "i", wasiBadFile),

	"fd_advise":               typed("iIIi", "i", wasiDenied),
	"fd_allocate":             typed("iII", "i", wasiDenied),
	"fd_datasync":             typed("i", "i", wasiDenied),
	"fd_fdstat_set_rights":    typed("iII", "i", wasiDenied),
	"fd_filestat_get":         typed("ii", "i", wasiDenied),
	"fd_filestat_set_size":    typed("iI", "i", wasiDenied),
	"fd_filestat_set_times":   typed("iIIi", "i", wasiDenied),
	"fd_pread":                typed("iiiIi", "i", wasiDenied),
	"fd_pwrite":               typed("iiiIi", "i", wasiDenied),
	"fd_readdir":              typed("iiiIi", "i", wasiDenied),
	"fd_renumber":             typed("ii", "i", wasiDenied),
	"fd_sync":                 typed("i", "i", wasiDenied),
	"fd_tell":                 typed("ii", "i", wasiDenied),
	"path_create_directory":   typed("iii", "i", wasiDenied),
	"path_filestat_get":       typed("iiiii", "i", wasiDenied),
	"path_filestat_set_times": typed("iiiiIIi", "i", wasiDenied),
	"path_link":               typed("iiiiiii", "i", wasiDenied),
	"path_open":               typed("iiiiiIIii", "i", wasiDenied),
	"path_readlink":           typed("iiiiii", "i", wasiDenied),
	"path_remove_directory":   typed("iii", "i", wasiDenied),
	"path_rename":             typed("iiiiii", "i", wasiDenied),
	"path_symlink":            typed("iiiii", "i", wasiDenied),
	"path_unlink_file":        typed("iii", "i", wasiDenied),
	"sock_accept":             typed("iii", "i", wasiDenied),
	"sock_recv":               typed("iiiiii", "i", wasiDenied),
	"sock_send":               typed("iiiii", "i", wasiDenied),
	"sock_shutdown":           typed("ii", "i", wasiDenied),
}

func wasiSucceed(_ context.Context, _ api.Module, s []uint64) { s[0] = errnoSuccess }
func wasiBadFile(_ context.Context, _ api.Module, s []uint64) { s[0] = errnoBadFile }
func wasiDenied(_ context.Context, _ api.Module, s []uint64)  { s[0] = errnoNotCapable }

// wasiYield gives way to nobody: there is one thread.
func wasiYield(ctx context.Context, _ api.Module, s []uint64) {
	of(ctx).count()
	s[0] = errnoSuccess
}

// wasiNoStrings says that there are no arguments, or no environment.
func wasiNoStrings(ctx context.Context, mod api.Module, s []uint64) {
	in := of(ctx)
	binary.LittleEndian.PutUint32(in.bytes(mod, s[0], 4), 0)
	binary.LittleEndian.PutUint32(in.bytes(mod, s[1], 4), 0)
	s[0] = errnoSuccess
}

func wasiClockRes(ctx context.Context, mod api.Module, s []uint64) {
	binary.LittleEndian.PutUint64(of(ctx).bytes(mod, s[1], 8), 1)
	s[0] = errnoSuccess
}

// wasiClockTime tells the time the call carries, for every clock there is.
func wasiClockTime(ctx context.Context, mod api.Module, s []uint64) {
	in := of(ctx)
	binary.LittleEndian.PutUint64(in.bytes(mod, s[2], 8), in.clock)
	s[0] = errnoSuccess
}

// wasiRandom gives the next bytes of a fixed stream (splitmix64).
func wasiRandom(ctx context.Context, mod api.Module, s []uint64) {
	in := of(ctx)
	in.count()
	out := in.bytes(mod, s[0], s[1])
	var word [8]byte
	for len(out) > 0 {
		in.random += 0x9e3779b97f4a7c15
		z := in.random
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(word[:], z^z>>31)
		out = out[copy(out, word[:]):]
	}
	s[0] = errnoSuccess
}

// wasiExit is how runtimes give up; to the host it is a trap.
func wasiExit(ctx context.Context, _ api.Module, s []uint64) {
	in := of(ctx)
	why := sdk.ReasonTrap
	if in.arena.refused {
		why = sdk.ReasonMemory
	}
	in.out.end()
	in.end(why, "it ended itself with status %d: %s", uint32(s[0]), in.out.last())
}

// wasiPoll is sleeping. The clock jumps to the earliest moment waited for, so a
// sleep takes no time and always the same time.
func wasiPoll(ctx context.Context, mod api.Module, s []uint64) {
	const subscription, event = 48, 32
	in := of(ctx)
	in.count()
	n := uint32(s[2])
	if n == 0 || n > 64 {
		s[0] = errnoInvalid
		return
	}
	subs := in.bytes(mod, s[0], uint64(n)*subscription)
	out := in.bytes(mod, s[1], uint64(n)*event)
	count := in.bytes(mod, s[3], 4)
	wake := ^uint64(0)
	for i := range n {
		if sub := subs[i*subscription:]; sub[8] == 0 { // a clock
			wake = min(wake, in.moment(sub))
		}
	}
	if wake != ^uint64(0) {
		in.clock = max(in.clock, wake)
	}
	events := uint32(0)
	for i := range n {
		sub, errno := subs[i*subscription:], uint16(errnoSuccess)
		if sub[8] != 0 {
			errno = errnoBadFile
		} else if in.moment(sub) > in.clock {
			continue
		}
		e := out[events*event : (events+1)*event]
		clear(e)
		copy(e[:8], sub[:8]) // user data
		binary.LittleEndian.PutUint16(e[8:], errno)
		e[10] = sub[8]
		events++
	}
	binary.LittleEndian.PutUint32(count, events)
	s[0] = errnoSuccess
}

// moment is when a clock subscription is due. A relative one that would
// overflow is never due.
func (in *instance) moment(sub []byte) uint64 {
	at := binary.LittleEndian.Uint64(sub[24:])
	if sub[40]&1 != 0 { // absolute
		return at
	}
	if at > ^uint64(0)-in.clock-1 {
		return ^uint64(0)
	}
	return in.clock + at
}

// wasiWrite takes standard output and error into the log.
func wasiWrite(ctx context.Context, mod api.Module, s []uint64) {
	in := of(ctx)
	in.count()
	if fd := uint32(s[0]); fd != 1 && fd != 2 {
		s[0] = errnoBadFile
		return
	}
	n := uint32(s[2])
	if n > 1024 {
		s[0] = errnoInvalid
		return
	}
	vectors := in.bytes(mod, s[1], uint64(n)*8)
	written := in.bytes(mod, s[3], 4)
	total := uint32(0)
	for i := range n {
		at, size := binary.LittleEndian.Uint32(vectors[8*i:]), binary.LittleEndian.Uint32(vectors[8*i+4:])
		piece := in.bytes(mod, uint64(at), uint64(size))
		in.out.write(piece[:min(len(piece), maxLogged)])
		total += size
	}
	binary.LittleEndian.PutUint32(written, total)
	s[0] = errnoSuccess
}

// wasiFdstat describes standard input, output and error as terminals.
func wasiFdstat(ctx context.Context, mod api.Module, s []uint64) {
	if uint32(s[0]) > 2 {
		s[0] = errnoBadFile
		return
	}
	stat := of(ctx).bytes(mod, s[1], 24)
	clear(stat)
	stat[0] = 2 // a character device
	s[0] = errnoSuccess
}
