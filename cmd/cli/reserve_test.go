package cli

import "testing"

func TestReserve(t *testing.T) {
	for in, want := range map[string]Reserve{
		"cpus=0.5,mem=512Mi,disk=1Gi": {500, 512 << 20, 1 << 30},
		"mem=1.5Gi":                   {0, 3 << 29, 0},
		"cpus=0":                      {-1, 0, 0},
		"disk=4096, cpus=2":           {2000, 0, 4096},
	} {
		var got Reserve
		if err := got.Set(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "cpus", "gpus=1", "cpus=-1", "cpus=1/2", "cpus=0.0001", "mem=1e3", "mem=99999999Ti", "cpus=1Ki", "mem=x"} {
		if err := new(Reserve).Set(in); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
}
