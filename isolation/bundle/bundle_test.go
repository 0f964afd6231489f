package bundle

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
)

var update = flag.Bool("update", false, "write the golden files anew")

func base() *isolation.Spec {
	return &isolation.Spec{
		ID:      "hello.4f",
		Program: isolation.Program{Args: []string{"/bin/hello", "-v"}, Env: []string{"A=1", "EMPTY="}, WorkDir: "/srv"},
		Limits:  isolation.Limits{CPUWeight: 500},
	}
}

func TestGolden(t *testing.T) {
	v1 := Host{Root: "/root", Cgroup: "drupe/hello.4f", Limiter: Limiter{Rlimits: map[string]uint64{"nofile": 20000}}}
	v2 := Host{Root: "/root", Cgroup: "drupe/hello.4f", Limiter: Limiter{Unified: true}, Sys: "/sys-alone", IDs: IDRange{300000, 65536}, Files: []string{"/etc/resolv.conf"}}
	tests := []struct {
		name string
		edit func(*isolation.Spec)
		user User
		host Host
	}{
		{"least", func(*isolation.Spec) {}, User{}, v1},
		{"rlimits", func(s *isolation.Spec) {
			s.Limits.Rlimits = []sdk.Rlimit{{Name: "nofile", Soft: 1024, Hard: 65536}, {Name: "core", Soft: -1, Hard: -1}}
		}, User{}, v1},
		{"user-and-capability", func(s *isolation.Spec) {
			s.Program.Capabilities, s.Program.ReadOnly = []string{"NET_BIND_SERVICE"}, true
		},
			User{UID: 1000, GID: 100, Groups: []uint32{5}}, v2},
		{"own-network", func(s *isolation.Spec) { s.PrivateNetwork = true; s.ID = "a_b"; s.Program.WorkDir = "" }, User{}, v2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := base()
			tt.edit(s)
			spec, err := Spec(s, &s.Program, tt.user, tt.host)
			if err != nil {
				t.Fatal(err)
			}
			checkFilter(t, spec.Linux.Seccomp)
			spec.Linux.Seccomp = nil
			var got bytes.Buffer
			e := json.NewEncoder(&got)
			e.SetIndent("", "  ")
			if err := e.Encode(spec); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", tt.name+".json")
			if *update {
				os.MkdirAll("testdata", 0o755)
				os.WriteFile(file, got.Bytes(), 0o644)
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("differs from %s (run with -update and look at the difference):\n%s", file, got.Bytes())
			}
		})
	}
}

// The profile refuses what it does not name, for one architecture only, and
// does not name what opens the kernel.
func checkFilter(t *testing.T, f *specs.LinuxSeccomp) {
	t.Helper()
	if f == nil || f.DefaultAction != specs.ActErrno {
		t.Fatalf("filter %+v does not refuse by default", f)
	}
	if len(f.Architectures) != 1 {
		t.Errorf("architectures %v, want the native one", f.Architectures)
	}
	for _, rule := range f.Syscalls {
		for _, name := range rule.Names {
			switch name {
			case "mount", "bpf", "keyctl", "init_module", "io_uring_setup", "unshare", "setns", "kexec_load", "ptrace_attach":
				if rule.Action == specs.ActAllow {
					t.Errorf("%s is allowed", name)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	host := Host{IDs: IDRange{300000, 65536}}
	tests := []struct {
		name string
		edit func(*isolation.Spec)
		user User
		want string
	}{
		{"no command", func(s *isolation.Spec) { s.Program.Args = nil }, User{}, "has no command"},
		{"empty command", func(s *isolation.Spec) { s.Program.Args = []string{""} }, User{}, "has no command"},
		{"relative folder", func(s *isolation.Spec) { s.Program.WorkDir = "srv" }, User{}, "absolute"},
		{"zero byte", func(s *isolation.Spec) { s.Program.Args = []string{"a", "b\x00c"} }, User{}, "zero byte"},
		{"no variable", func(s *isolation.Spec) { s.Program.Env = []string{"=x"} }, User{}, "NAME=value"},
		{"user out of range", func(*isolation.Spec) {}, User{UID: 65536}, "not below 65536"},
		{"rlimit", func(s *isolation.Spec) { s.Limits.Rlimits = []sdk.Rlimit{{Name: "RLIMIT_CPU"}} }, User{}, "no rlimit"},
		{"capability", func(s *isolation.Spec) { s.Program.Capabilities = []string{"CAP_KILL"} }, User{}, "no capability"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := base()
			tt.edit(s)
			_, err := Spec(s, &s.Program, tt.user, host)
			if sdk.KindOf(err) != sdk.Invalid || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
