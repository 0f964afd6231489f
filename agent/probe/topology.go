package probe

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// flags of the processor that programs choose their code by, as the attribute
// calls them and as the kernel does.
var flags = []struct{ name, flag string }{
	{"cpu.aes", "aes"}, {"cpu.amx", "amx_tile"}, {"cpu.avx", "avx"}, {"cpu.avx2", "avx2"}, {"cpu.avx512", "avx512f"},
	{"cpu.sha", "sha_ni"}, {"cpu.sha", "sha2"}, {"cpu.sve", "sve"},
}

// designs are the names of ARM's own cores for servers: its kernel gives
// numbers only.
var designs = map[string]string{
	"0x41 0xd0c": "ARM Neoverse-N1", "0x41 0xd40": "ARM Neoverse-V1", "0x41 0xd49": "ARM Neoverse-N2",
	"0x41 0xd4f": "ARM Neoverse-V2", "0x41 0xd08": "ARM Cortex-A72", "0xc0 0xac3": "Ampere-1", "0x41 0xd8e": "ARM Neoverse-N3",
}

// topology describes the processors: how many sockets, cores, hardware threads
// and NUMA nodes, what they are called and what they can do. What the machine
// does not tell is left out.
func (r roots) topology() []sdk.Attribute {
	var out []sdk.Attribute
	add := func(name, value string) {
		if value != "" && !slices.ContainsFunc(out, func(a sdk.Attribute) bool { return a.Name == name }) {
			out = append(out, sdk.Attribute{Name: name, Value: value})
		}
	}
	sockets, cores, threads := map[string]bool{}, map[string]bool{}, 0
	for _, n := range numbered(filepath.Join(r.sys, "devices/system/cpu"), "cpu") {
		dir := filepath.Join(r.sys, "devices/system/cpu", fmt.Sprint("cpu", n), "topology")
		socket, core := readText(filepath.Join(dir, "physical_package_id")), readText(filepath.Join(dir, "core_id"))
		if core == "" {
			continue // switched off
		}
		threads++
		sockets[socket] = true
		// Numbers of cores are told apart by die and by cluster only.
		cores[strings.Join([]string{socket, readText(filepath.Join(dir, "die_id")), readText(filepath.Join(dir, "cluster_id")), core}, "/")] = true
	}
	if threads > 0 {
		add("cpu.sockets", strconv.Itoa(len(sockets)))
		add("cpu.cores", strconv.Itoa(len(cores)))
		add("cpu.threads", strconv.Itoa(threads))
	}
	if n := len(numbered(filepath.Join(r.sys, "devices/system/node"), "node")); n > 0 {
		add("cpu.numa", strconv.Itoa(n))
	}
	info := r.processor()
	model := info["model name"]
	if model == "" {
		if id := strings.TrimSpace(info["CPU implementer"] + " " + info["CPU part"]); id != "" {
			if model = designs[id]; model == "" {
				model = "ARM " + id
			}
		}
	}
	add("cpu.model", strings.Join(strings.Fields(model), " "))
	have := strings.Fields(info["flags"] + " " + info["Features"])
	for _, f := range flags {
		if slices.Contains(have, f.flag) {
			add(f.name, "true")
		}
	}
	for _, size := range r.hugepages() {
		add("mem.hugepages-"+size.name, strconv.FormatInt(size.count, 10))
	}
	return out
}

// processor returns what the kernel says of the first one.
func (r roots) processor() map[string]string {
	m := map[string]string{}
	b, err := os.ReadFile(filepath.Join(r.proc, "cpuinfo"))
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(b)) {
		name, value, ok := strings.Cut(line, ":")
		if !ok && len(m) > 0 {
			break // an empty line ends it
		}
		m[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return m
}

type pages struct {
	name  string // "2Mi"
	count int64
}

// hugepages lists the sizes of which pages are set aside.
func (r roots) hugepages() []pages {
	var out []pages
	entries, _ := os.ReadDir(filepath.Join(r.sys, "kernel/mm/hugepages"))
	for _, e := range entries {
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB"), 10, 64)
		n, ok := readInt(filepath.Join(r.sys, "kernel/mm/hugepages", e.Name(), "nr_hugepages"))
		if err != nil || !ok || n == 0 {
			continue
		}
		name := fmt.Sprintf("%dKi", kib)
		switch {
		case kib%(1<<20) == 0:
			name = fmt.Sprintf("%dGi", kib>>20)
		case kib%(1<<10) == 0:
			name = fmt.Sprintf("%dMi", kib>>10)
		}
		out = append(out, pages{name, n})
	}
	return out
}

// numbered returns the numbers of a folder's entries that are called prefix and
// a number.
func numbered(dir, prefix string) []int {
	entries, _ := os.ReadDir(dir)
	var list []int
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), prefix)
		if n, err := strconv.Atoi(rest); ok && err == nil {
			list = append(list, n)
		}
	}
	return list
}

func readText(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
