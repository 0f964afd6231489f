package probe

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func fakeRoots(t *testing.T, cgroup string, files map[string]string) roots {
	t.Helper()
	dir := t.TempDir()
	files["proc/meminfo"] = "MemTotal:       8388608 kB\nMemFree: 1 kB\n"
	files["proc/self/cgroup"] = cgroup
	for name, body := range files {
		p := filepath.Join(dir, name)
		os.MkdirAll(filepath.Dir(p), 0o755)
		if err := os.WriteFile(p, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return roots{proc: filepath.Join(dir, "proc"), cgroup: filepath.Join(dir, "cg"), sys: filepath.Join(dir, "sys")}
}

func TestControlGroups(t *testing.T) {
	for _, tt := range []struct {
		name      string
		cgroup    string
		files     map[string]string
		cpus, mem int64 // 0: the machine's
	}{
		{"none", "", map[string]string{}, 0, 8 << 30},
		{"v2", "0::/a/b\n", map[string]string{"cg/a/cpu.max": "50000 100000\n", "cg/a/b/cpu.max": "max 100000\n", "cg/a/b/memory.max": "1073741824\n", "cg/a/memory.max": "max\n"}, 500, 1 << 30},
		{"v1", "4:cpu,cpuacct:/x\n5:memory:/\n0::/\n", map[string]string{"cg/cpu,cpuacct/x/cpu.cfs_quota_us": "25000\n", "cg/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n", "cg/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 250, 8 << 30},
		{"v1 unbounded", "4:cpu:/x\n", map[string]string{"cg/cpu/x/cpu.cfs_quota_us": "-1\n", "cg/cpu/x/cpu.cfs_period_us": "100000\n"}, 0, 8 << 30},
	} {
		r := fakeRoots(t, tt.cgroup, tt.files)
		cpus, err := r.cpus()
		if err != nil || tt.cpus != 0 && cpus != tt.cpus || tt.cpus == 0 && (cpus < 1000 || cpus%1000 != 0) {
			t.Errorf("%s: %d thousandths of a core, %v", tt.name, cpus, err)
		}
		if mem, err := r.memory(); err != nil || mem != tt.mem {
			t.Errorf("%s: %d bytes, %v", tt.name, mem, err)
		}
	}
}

func TestShares(t *testing.T) {
	whole, err := Machine(Options{Dir: t.TempDir(), Address: "127.0.0.1", ReserveCPUs: -1, ReserveMem: -1})
	if err != nil {
		t.Fatal(err)
	}
	if whole.Hostname == "" || len(whole.Attributes) < 4 {
		t.Errorf("%+v", whole)
	}
	if _, err := whole.Capacity.Normal(); err != nil {
		t.Error(err)
	}
	var sum int64
	last := uint16(DefaultPorts.First - 1)
	for i := range 3 {
		m, err := Machine(Options{Dir: t.TempDir(), Address: "127.0.0.1", Share: i, Of: 3, ReserveCPUs: -1, ReserveMem: -1})
		if err != nil {
			t.Fatal(err)
		}
		sum += m.Capacity.Get(sdk.CPUs)
		if p := m.Ports[0]; p.First != last+1 || p.Last <= p.First {
			t.Errorf("share %d has ports %+v after %d", i, p, last)
		} else {
			last = p.Last
		}
	}
	if all := whole.Capacity.Get(sdk.CPUs); sum > all || sum < all-3 {
		t.Errorf("shares add up to %d of %d", sum, all)
	}
	for _, o := range []Options{{Share: 3, Of: 3}, {Ports: sdk.Range{First: 5, Last: 4}}, {Ports: sdk.Range{First: 1, Last: 2}, Of: 3}} {
		o.Dir = t.TempDir()
		if _, err := Machine(o); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
