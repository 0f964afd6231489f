package bundle

import (
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

func TestGuard(t *testing.T) {
	for _, dir := range []string{"/proc/self/fd/7", "/proc", "/proc/self/fd/7/../../..", "//proc/./1/root", "/sys/fs/cgroup"} {
		if err := guard(&isolation.Spec{}, &isolation.Program{WorkDir: dir}); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("working folder %s: %v", dir, err)
		}
	}
	for _, dir := range []string{"", "/", "/srv/proc", "/process", "/dev/shm", "/proc/.."} {
		if err := guard(&isolation.Spec{}, &isolation.Program{WorkDir: dir}); err != nil {
			t.Errorf("working folder %s: %v", dir, err)
		}
	}
	for path, ok := range map[string]bool{
		"/data": true, "/dev/shm/x": true, "/etc/hosts": true, "/process": true,
		"/proc": false, "/proc/self/attr": false, "/a/../proc/sys": false, "/sys": false, "/dev": false,
		"/dev/pts": false, "/dev/null": false, "/dev/shm/../console": false, "/": false, "": false, "data": false, "/..": false,
	} {
		err := guard(&isolation.Spec{Mounts: []isolation.Mount{{Name: "v", Path: path, Host: "/srv"}}}, &isolation.Program{})
		if (err == nil) != ok {
			t.Errorf("volume at %q: %v", path, err)
		}
	}
}

func TestWithoutCores(t *testing.T) {
	for _, tt := range []struct {
		name  string
		asked []specs.POSIXRlimit
		most  map[string]uint64
		want  uint64
	}{
		{"nothing asked", nil, nil, 1},
		{"another asked", []specs.POSIXRlimit{{Type: "nofile", Soft: 9, Hard: 9}}, nil, 1},
		{"cores asked", []specs.POSIXRlimit{{Type: "core", Soft: 9, Hard: 9}}, nil, 9},
		{"the machine's own is less", nil, map[string]uint64{"core": 0}, 0},
	} {
		list := withoutCores(tt.asked, Limiter{Rlimits: tt.most})
		if last := list[len(list)-1]; last.Type != "core" || last.Soft != tt.want || last.Hard != tt.want {
			t.Errorf("%s: %+v, want %d", tt.name, last, tt.want)
		}
	}
}

func TestOOMScore(t *testing.T) {
	for own, want := range map[int]int{0: 300, -500: 300, 300: 300, 900: 900} {
		if got := *oomScore(Host{OOMScore: own}); got != want {
			t.Errorf("of a keeper with %d: %d, want %d", own, got, want)
		}
	}
}
