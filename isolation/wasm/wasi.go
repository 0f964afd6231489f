package wasm

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"syscall"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
)

// wasiModule is the name that modules import the interface under.
const wasiModule = "wasi_snapshot_preview1"

// guest is the outside world of one module: the WASI interface, preview 1, laid
// directly over the system calls of Linux. It is not what keeps a module in:
// that is the container around this process. A module has one thread, so
// nothing here is locked.
type guest struct {
	args, env []string
	files     table
}

// call is one function of the interface: its parameters come as they lie on
// the stack, its result is an error number of Linux, 0 for none.
type call struct {
	params string // "i" for 32 bits, "I" for 64
	run    func(g *guest, m memory, p []uint64) syscall.Errno
}

// calls are all functions of preview 1 but proc_exit, which does not return.
var calls = map[string]call{
	"args_get":              {"ii", func(g *guest, m memory, p []uint64) syscall.Errno { return m.strings(g.args, p) }},
	"args_sizes_get":        {"ii", func(g *guest, m memory, p []uint64) syscall.Errno { return m.sizes(g.args, p) }},
	"environ_get":           {"ii", func(g *guest, m memory, p []uint64) syscall.Errno { return m.strings(g.env, p) }},
	"environ_sizes_get":     {"ii", func(g *guest, m memory, p []uint64) syscall.Errno { return m.sizes(g.env, p) }},
	"clock_res_get":         {"ii", clockRes},
	"clock_time_get":        {"iIi", clockTime},
	"random_get":            {"ii", random},
	"sched_yield":           {"", func(*guest, memory, []uint64) syscall.Errno { return 0 }},
	"proc_raise":            {"i", func(*guest, memory, []uint64) syscall.Errno { return syscall.ENOSYS }},
	"poll_oneoff":           {"iiii", (*guest).poll},
	"fd_advise":             {"iIIi", (*guest).fdAdvise},
	"fd_allocate":           {"iII", (*guest).fdAllocate},
	"fd_close":              {"i", (*guest).fdClose},
	"fd_datasync":           {"i", (*guest).fdDatasync},
	"fd_fdstat_get":         {"ii", (*guest).fdStat},
	"fd_fdstat_set_flags":   {"ii", (*guest).fdSetFlags},
	"fd_fdstat_set_rights":  {"iII", (*guest).fdSetRights},
	"fd_filestat_get":       {"ii", (*guest).fdFilestat},
	"fd_filestat_set_size":  {"iI", (*guest).fdSetSize},
	"fd_filestat_set_times": {"iIIi", (*guest).fdSetTimes},
	"fd_pread":              {"iiiIi", (*guest).fdPread},
	"fd_prestat_dir_name":   {"iii", (*guest).prestatName},
	"fd_prestat_get":        {"ii", (*guest).prestat},
	"fd_pwrite":             {"iiiIi", (*guest).fdPwrite},
	"fd_read":               {"iiii", (*guest).fdRead},
	"fd_readdir":            {"iiiIi", (*guest).fdReaddir},
	"fd_renumber":           {"ii", (*guest).fdRenumber},
	"fd_seek":               {"iIii", (*guest).fdSeek},
	"fd_sync":               {"i", (*guest).fdSync},
	"fd_tell":               {"ii", (*guest).fdTell},
	"fd_write":              {"iiii", (*guest).fdWrite},

	"path_create_directory":   {"iii", (*guest).pathMkdir},
	"path_filestat_get":       {"iiiii", (*guest).pathFilestat},
	"path_filestat_set_times": {"iiiiIIi", (*guest).pathSetTimes},
	"path_link":               {"iiiiiii", (*guest).pathLink},
	"path_open":               {"iiiiiIIii", (*guest).pathOpen},
	"path_readlink":           {"iiiiii", (*guest).pathReadlink},
	"path_remove_directory":   {"iii", (*guest).pathRmdir},
	"path_rename":             {"iiiiii", (*guest).pathRename},
	"path_symlink":            {"iiiii", (*guest).pathSymlink},
	"path_unlink_file":        {"iii", (*guest).pathUnlink},

	"sock_accept":   {"iii", (*guest).sockAccept},
	"sock_recv":     {"iiiiii", (*guest).sockRecv},
	"sock_send":     {"iiiii", (*guest).sockSend},
	"sock_shutdown": {"ii", (*guest).sockShutdown},
}

// export offers the interface to modules of r.
func (g *guest) export(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(wasiModule)
	for name, c := range calls {
		var params []api.ValueType
		for _, p := range c.params {
			t := api.ValueTypeI32
			if p == 'I' {
				t = api.ValueTypeI64
			}
			params = append(params, t)
		}
		n := len(params)
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
			for i := range n {
				if c.params[i] == 'i' {
					stack[i] = uint64(uint32(stack[i])) // what is above is anything
				}
			}
			stack[0] = uint64(number(c.run(g, memory{m.Memory()}, stack[:n])))
		}), params, []api.ValueType{api.ValueTypeI32}).Export(name)
	}
	b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
		panic(sys.NewExitError(uint32(stack[0]))) // wazero's way to unwind the module's stack
	}), []api.ValueType{api.ValueTypeI32}, nil).Export("proc_exit")
	_, err := b.Instantiate(ctx)
	return err
}

// memory is the module's; every access is bounds-checked.
type memory struct{ api.Memory }

// bytes returns the memory at offset o of length n, to read and to write.
func (m memory) bytes(o, n uint64) ([]byte, bool) {
	if m.Memory == nil || o > math.MaxUint32 || n > math.MaxUint32 {
		return nil, false
	}
	return m.Read(uint32(o), uint32(n))
}

func (m memory) put32(o uint64, v uint32) syscall.Errno {
	b, ok := m.bytes(o, 4)
	if !ok {
		return syscall.EFAULT
	}
	binary.LittleEndian.PutUint32(b, v)
	return 0
}

func (m memory) put64(o uint64, v uint64) syscall.Errno {
	b, ok := m.bytes(o, 8)
	if !ok {
		return syscall.EFAULT
	}
	binary.LittleEndian.PutUint64(b, v)
	return 0
}

// text reads a string, which may hold no zero byte: Linux would cut it there.
func (m memory) text(o, n uint64) (string, syscall.Errno) {
	b, ok := m.bytes(o, n)
	if !ok {
		return "", syscall.EFAULT
	}
	for _, c := range b {
		if c == 0 {
			return "", syscall.EINVAL
		}
	}
	return string(b), 0
}

// vector reads a list of buffers. Linux takes 1024 at most in one call; what
// is beyond is left for the next.
func (m memory) vector(o, n uint64) ([][]byte, syscall.Errno) {
	list, ok := m.bytes(o, n*8)
	if !ok {
		return nil, syscall.EFAULT
	}
	var out [][]byte
	for ; len(list) > 0 && len(out) < 1024; list = list[8:] {
		b, ok := m.bytes(uint64(binary.LittleEndian.Uint32(list)), uint64(binary.LittleEndian.Uint32(list[4:])))
		if !ok {
			return nil, syscall.EFAULT
		}
		if len(b) > 0 {
			out = append(out, b)
		}
	}
	return out, 0
}

// strings writes texts, each with a zero byte behind it, and where they are.
func (m memory) strings(list []string, p []uint64) syscall.Errno {
	at, to := p[0], p[1]
	for _, s := range list {
		if errno := m.put32(at, uint32(to)); errno != 0 {
			return errno
		}
		b, ok := m.bytes(to, uint64(len(s)+1))
		if !ok {
			return syscall.EFAULT
		}
		copy(b, s)
		b[len(s)] = 0
		at, to = at+4, to+uint64(len(s)+1)
	}
	return 0
}

func (m memory) sizes(list []string, p []uint64) syscall.Errno {
	total := 0
	for _, s := range list {
		total += len(s) + 1
	}
	if errno := m.put32(p[0], uint32(len(list))); errno != 0 {
		return errno
	}
	return m.put32(p[1], uint32(total))
}

// clocks are Linux's for those of the interface, by number.
var clocks = []int32{unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_PROCESS_CPUTIME_ID, unix.CLOCK_THREAD_CPUTIME_ID}

func clockRes(_ *guest, m memory, p []uint64) syscall.Errno {
	if p[0] >= uint64(len(clocks)) {
		return syscall.EINVAL
	}
	var t unix.Timespec
	if err := unix.ClockGetres(clocks[p[0]], &t); err != nil {
		return errnoOf(err)
	}
	return m.put64(p[1], uint64(t.Nano()))
}

func clockTime(_ *guest, m memory, p []uint64) syscall.Errno {
	if p[0] >= uint64(len(clocks)) {
		return syscall.EINVAL
	}
	var t unix.Timespec
	if err := unix.ClockGettime(clocks[p[0]], &t); err != nil {
		return errnoOf(err)
	}
	return m.put64(p[2], uint64(t.Nano()))
}

func random(_ *guest, m memory, p []uint64) syscall.Errno {
	b, ok := m.bytes(p[0], p[1])
	if !ok {
		return syscall.EFAULT
	}
	_, _ = rand.Read(b) // documented to never fail
	return 0
}
