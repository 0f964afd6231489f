package bundle

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

// What limits are in the files of cgroups, for both versions.
func TestSettingsGolden(t *testing.T) {
	v1 := Limiter{LimitsSwap: true, AllCPUs: "0-7", AllMems: "0-1", Block: "254:0", IOWeight: "blkio.bfq.weight", Hugepages: []int64{2 << 20, 1 << 30}}
	v2 := v1
	v2.Unified, v2.IOWeight = true, "io.weight"
	tests := []struct {
		name   string
		limits isolation.Limits
	}{
		{"nothing asked", isolation.Limits{}},
		{"all asked", isolation.Limits{CPUWeight: 500, CPUQuota: 250, CPUs: "2-3", Mems: "1", Memory: 64 << 20, Reservation: 32 << 20, Swap: 16 << 20, Pids: 16,
			IO:        &sdk.IOLimits{Weight: 200, ReadBytes: 1 << 20, WriteBytes: 2 << 20, ReadOps: 100, WriteOps: 50},
			Hugepages: []sdk.Hugepages{{Size: 2 << 20, Limit: 8 << 20}}}},
		{"the least and the most", isolation.Limits{CPUWeight: 1, CPUQuota: 1, Memory: 1 << 20, Reservation: 1 << 30, IO: &sdk.IOLimits{ReadOps: 7}}},
	}
	var got strings.Builder
	for _, tt := range tests {
		for _, h := range []Limiter{v1, v2} {
			list, err := Settings("a", &tt.limits, h)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			fmt.Fprintf(&got, "# %s, unified %v\n", tt.name, h.Unified)
			for _, s := range list {
				note := ""
				if s.Fresh {
					note = " (as in a new cgroup)"
				}
				fmt.Fprintf(&got, "%s/%s = %s%s\n", s.Controller, s.File, s.Value, note)
			}
		}
	}
	file := filepath.Join("testdata", "settings.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("differs from %s (run with -update and look at the difference):\n%s", file, got.String())
	}
}

// What a machine cannot limit is refused when it is asked for, with the cause,
// and is no hindrance when it is not.
func TestSettingsRefused(t *testing.T) {
	least := Limiter{NoBlock: "the data folder is on tmpfs", NoIOWeight: "its scheduler is none"}
	if list, err := Settings("a", &isolation.Limits{CPUWeight: 100, Memory: 1 << 20, IO: &sdk.IOLimits{}}, least); err != nil || len(list) == 0 {
		t.Errorf("nothing special asked: %v, %v", list, err)
	}
	for want, l := range map[string]isolation.Limits{
		"does not count swap":  {Memory: 1 << 20, Swap: 1 << 20},
		"folder is on tmpfs":   {IO: &sdk.IOLimits{WriteBytes: 1}},
		"its scheduler":        {IO: &sdk.IOLimits{Weight: 1}},
		"no hugetlb":           {Hugepages: []sdk.Hugepages{{Size: 2 << 20, Limit: 2 << 20}}},
		"huge pages of 2Mi":    {Hugepages: []sdk.Hugepages{{Size: 2 << 20, Limit: 2 << 20}}},
		"swap cannot be limit": {Swap: 1},
	} {
		_, err := Settings("a", &l, least)
		if isolation.ReasonOf(err) != sdk.ReasonUnsupported || sdk.KindOf(err) != sdk.Unsupported || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", l, err, want)
		}
	}
}

func TestRlimitsLowered(t *testing.T) {
	h := Limiter{Rlimits: map[string]uint64{"nofile": 20000}}
	list, notes, err := Rlimits("a", []sdk.Rlimit{{Name: "nofile", Soft: 30000, Hard: -1}, {Name: "stack", Soft: 8, Hard: 9}}, h)
	if err != nil || len(list) != 2 || list[0].Soft != 20000 || list[0].Hard != 20000 || list[1].Hard != 9 {
		t.Errorf("%+v, %v", list, err)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "nofile is 20000 instead of unlimited") {
		t.Errorf("notes %q", notes)
	}
}
