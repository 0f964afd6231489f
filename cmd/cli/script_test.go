package cli

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/drupe-os/drupe/kernel/gate"
	"github.com/drupe-os/drupe/sdk/client"
)

// The scripts run this test binary again as the command drupe.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"drupe": func() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())) },
	})
}

// TestScripts tries the command line as people type it, against the real gate
// over TLS with a fake cluster behind. "code N drupe …" runs a command and
// demands its exit code.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup:         setup,
		Cmds:          map[string]func(*testscript.TestScript, bool, []string){"code": code},
	})
}

// setup starts a cluster for one script, and makes it known to the user.
func setup(env *testscript.Env) error {
	_, stop, err := cluster(env.WorkDir)
	if err != nil {
		return err
	}
	env.Defer(stop)
	env.Setenv("DRUPE_CONFIG", filepath.Join(env.WorkDir, ".config"))
	env.Setenv("COLUMNS", "80")
	// A script cannot hold a module's zero byte.
	return os.WriteFile(filepath.Join(env.WorkDir, "ok.wasm"), []byte("\x00asm\x01\x00\x00\x00"), 0o600)
}

// cluster starts a cluster behind the real gate and writes the contexts guest
// and alice, the current one, into dir/.config.
func cluster(dir string) (f *fake, stop func(), err error) {
	f = newFake()
	g := gate.New(gate.Needs{Documents: f, Tasks: f, Cluster: f, Plugins: f, Events: f, Join: f, Auth: f, Guard: f, Checker: f,
		Ready: func() error { return nil }}, gate.Options{Version: "1.2.3"})
	s := httptest.NewUnstartedServer(nil)
	s.Config = gate.NewServer(g, nil)
	s.StartTLS()
	stop = func() { g.Close(); s.Close() }
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	for _, who := range []string{"guest", "alice"} {
		_, err := client.SaveContext(filepath.Join(dir, ".config"), who, client.Context{Address: s.URL, CA: ca}, "token-of-"+who)
		if err != nil {
			stop()
			return nil, nil, err
		}
	}
	return f, stop, nil
}

func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
