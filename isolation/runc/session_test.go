package runc_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/drupe-os/drupe/isolation"
	"github.com/drupe-os/drupe/sdk"
	"github.com/drupe-os/drupe/sdk/archive"
	"github.com/drupe-os/drupe/sdk/session"
)

// visit opens a session.
func (n *node) visit(id sdk.TaskID, q *session.Request) *session.Conn {
	n.t.Helper()
	rwc, err := n.Open(n.ctx, id, q)
	if err != nil {
		n.t.Fatalf("%s in %s: %v", q.Op, id, err)
	}
	c := session.New(session.Stream(rwc), nil)
	n.t.Cleanup(func() { c.Close() })
	return c
}

// exec runs a program in a container to its end.
func (n *node) exec(id sdk.TaskID, q *session.Request, in io.Reader) (code int32, out, errs string) {
	n.t.Helper()
	q.Op, q.Input = session.Exec, in != nil
	var o, e bytes.Buffer
	r, err := n.visit(id, q).Run(in, &o, &e)
	if err != nil {
		n.t.Fatalf("%q: %v", q.Command, err)
	}
	if r.Error != nil && r.Code == 0 {
		n.t.Fatalf("%q: %v", q.Command, r.Error)
	}
	return r.Code, o.String(), e.String()
}

// host is a container in which sessions are held.
func (n *node) host(id string, edit ...func(*isolation.Spec)) *isolation.Spec {
	n.t.Helper()
	s := n.spec(id, sh("echo up; trap 'exit 9' TERM; while :; do busybox usleep 1000; done")...)
	for _, e := range edit {
		e(s)
	}
	n.begin(s)
	n.line(s, "up")
	return s
}

func TestExec(t *testing.T) {
	n := newNode(t)
	n.host("a", func(s *isolation.Spec) {
		s.Program.Env = append(s.Program.Env, "COLOUR=green", "SIZE=big")
		s.Program.WorkDir = "/tmp"
	})
	for _, c := range []struct {
		name string
		q    session.Request
		in   string
		code int32
		out  string
		errs string
	}{
		{"both outputs", session.Request{Command: sh("echo out; echo err >&2")}, "", 0, "out\n", "err\n"},
		{"exit code", session.Request{Command: sh("exit 42")}, "", 42, "", ""},
		{"killed", session.Request{Command: sh("kill -9 $$")}, "", 137, "", ""},
		{"variables", session.Request{Command: sh("echo $COLOUR $SIZE $MORE"), Env: []string{"SIZE=small", "MORE=x"}}, "", 0, "green small x\n", ""},
		{"folder of the program", session.Request{Command: sh("pwd")}, "", 0, "/tmp\n", ""},
		{"folder", session.Request{Command: sh("pwd"), WorkDir: "/etc"}, "", 0, "/etc\n", ""},
		{"user", session.Request{Command: sh("busybox id -u; busybox id -g; busybox id -G"), User: "web"}, "", 0, "1000\n100\n100 200\n", ""},
		{"no input", session.Request{Command: []string{"busybox", "cat"}}, "", 0, "", ""},
		{"input", session.Request{Command: []string{"busybox", "cat"}}, "hello", 0, "hello", ""},
		{"input nobody reads", session.Request{Command: sh("exit 3")}, strings.Repeat("x", 1<<20), 3, "", ""},
		{"child keeps the output", session.Request{Command: sh("busybox sleep 1000 & echo done")}, "", 0, "done\n", ""},
		{"no such program", session.Request{Command: []string{"nothing"}}, "", 127, "", ""},
		{"no program", session.Request{Command: []string{"/bin/text"}}, "", 126, "", ""},
		{"a folder", session.Request{Command: []string{"/bin"}}, "", 126, "", ""},
		{"the task's processes", session.Request{Command: sh("busybox tr '\\0' ' ' </proc/1/cmdline | busybox grep -q 'usleep 1000' && echo seen")}, "", 0, "seen\n", ""},
	} {
		var in io.Reader
		if c.in != "" {
			in = strings.NewReader(c.in)
		}
		code, out, errs := n.exec("a", &c.q, in)
		if code != c.code || out != c.out || errs != c.errs {
			t.Errorf("%s: code %d, %q, %q", c.name, code, out, errs)
		}
	}
	for name, q := range map[string]*session.Request{
		"no command":      {},
		"zero byte":       {Command: []string{"a\x00b"}},
		"variable":        {Command: []string{"sh"}, Env: []string{"x"}},
		"relative folder": {Command: []string{"sh"}, WorkDir: "tmp"},
		"unknown user":    {Command: []string{"sh"}, User: "nobody-here"},
	} {
		q.Op = session.Exec
		if _, err := n.Open(n.ctx, "a", q); sdk.KindOf(err) != sdk.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.Open(n.ctx, "b", &session.Request{Op: session.Exec, Command: sh("")}); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("no such task: %v", err)
	}
	if _, err := n.Open(n.ctx, "a", &session.Request{Op: "dance"}); sdk.KindOf(err) != sdk.Unsupported {
		t.Errorf("no such operation: %v", err)
	}
	if _, err := n.Open(n.ctx, "a", &session.Request{Op: session.Exec, Sidecar: "x"}); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("no such sidecar: %v", err)
	}
}

// What a session runs may do no more than the container's own program.
func TestExecConfined(t *testing.T) {
	n := newNode(t)
	look := "busybox grep -E '^(Uid|Gid|Groups|Cap...|NoNewPrivs|Seccomp):' /proc/self/status; " +
		"busybox cat /proc/self/cgroup; for i in cgroup ipc mnt net pid user uts; do busybox readlink /proc/self/ns/$i; done"
	s := n.spec("a", sh(look+"; echo end; while :; do busybox sleep 1; done")...)
	s.Program.User = "web"
	s.Program.Capabilities = []string{"NET_BIND_SERVICE"}
	n.begin(s)
	n.line(s, "end")
	want, _, _ := strings.Cut(n.output(s, "stdout"), "end")
	if _, out, errs := n.exec("a", &session.Request{Command: sh(look)}, nil); out != want {
		t.Errorf("in a session:\n%s%s\nthe program itself:\n%s", out, errs, want)
	}
}

// Ten megabytes through a program and back, and the program waits where the
// client does.
func TestExecPipe(t *testing.T) {
	n := newNode(t)
	n.host("a")
	data := make([]byte, 10<<20)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	sum := sha256.New()
	r, err := n.visit("a", &session.Request{Op: session.Exec, Command: []string{"busybox", "cat"}, Input: true}).Run(bytes.NewReader(data), sum, nil)
	if err != nil || r.Code != 0 {
		t.Fatal(r, err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
		t.Error("what came back differs")
	}
	code, out, _ := n.exec("a", &session.Request{Command: []string{"busybox", "sha256sum"}}, bytes.NewReader(data))
	if want := fmt.Sprintf("%x  -\n", sha256.Sum256(data)); code != 0 || out != want {
		t.Errorf("%q", out)
	}
}

// expectOutput reads frames until the output holds text.
func expectOutput(t *testing.T, c *session.Conn, seen *strings.Builder, text string) {
	t.Helper()
	for !strings.Contains(seen.String(), text) {
		kind, body, err := c.Receive()
		if err != nil || kind == session.End {
			t.Fatalf("waiting for %q: %s%v after %q", text, body, err, seen)
		}
		if kind == session.Out {
			seen.Write(body)
		}
	}
}

func TestExecTerminal(t *testing.T) {
	n := newNode(t)
	n.host("a", func(s *isolation.Spec) { s.Program.User = "web" })
	c := n.visit("a", &session.Request{Op: session.Exec, TTY: true, Input: true, Size: session.Size{Rows: 31, Columns: 117},
		Command: sh("trap 'echo resized; busybox stty size' WINCH; busybox tty && busybox stty size; while read x; do echo got $x; done; exit 5")})
	var seen strings.Builder
	expectOutput(t, c, &seen, "31 117\r\n")
	if !strings.HasPrefix(seen.String(), "/dev/pts/") {
		t.Errorf("%q", seen.String())
	}
	c.Send(session.In, []byte("one\n"))
	expectOutput(t, c, &seen, "got one\r\n")
	c.SendJSON(session.Resize, session.Size{Rows: 40, Columns: 80})
	c.Send(session.In, []byte("two\n")) // a shell acts on a signal between two lines
	expectOutput(t, c, &seen, "resized\r\n")
	expectOutput(t, c, &seen, "40 80\r\n")
	c.Send(session.InEnd, nil)
	r, err := c.Run(nil, nil, nil)
	if err != nil || r.Code != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	// Job control works: ^C reaches what runs in the foreground.
	c = n.visit("a", &session.Request{Op: session.Exec, TTY: true, Input: true, Command: []string{"busybox", "sh"}, Env: []string{"PS1=ready "}})
	seen.Reset()
	expectOutput(t, c, &seen, "ready ")
	c.Send(session.In, []byte("busybox sleep 1000\n"))
	n.until("sleep", func() bool {
		_, out, errs := n.exec("a", &session.Request{Command: sh("busybox ps -o args")}, nil)
		t.Logf("%s %s", out, errs)
		return strings.Contains(out, "\nbusybox sleep 1000\n")
	})
	c.Send(session.In, []byte{3})
	c.Send(session.In, []byte("echo code $?; exit 6\n"))
	expectOutput(t, c, &seen, "code 130\r\n")
	if r, err := c.Run(nil, nil, nil); err != nil || r.Code != 6 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestExecSignal(t *testing.T) {
	n := newNode(t)
	n.host("a")
	c := n.visit("a", &session.Request{Op: session.Exec, Command: sh("trap 'echo term; exit 8' TERM; echo up; while :; do busybox usleep 1000; done")})
	var seen strings.Builder
	expectOutput(t, c, &seen, "up\n")
	c.Send(session.Signal, []byte{byte(syscall.SIGTERM)})
	expectOutput(t, c, &seen, "term\n")
	if r, err := c.Run(nil, nil, nil); err != nil || r.Code != 8 {
		t.Errorf("%+v, %v", r, err)
	}
}

// gone waits until no process of a container has text among its arguments.
func (n *node) vanished(id sdk.TaskID, text string) {
	n.t.Helper()
	n.until("the end of "+text, func() bool {
		code, _, _ := n.exec(id, &session.Request{Command: sh("busybox ps -o args | busybox grep -F '" + text + "' | busybox grep -vF grep")}, nil)
		return code != 0
	})
}

// A client that goes takes with it what it has started: also one that never
// reads, and one whose input nobody reads.
func TestExecAbandoned(t *testing.T) {
	n := newNode(t)
	n.host("a")
	for name, script := range map[string]string{
		"quiet": "echo up; busybox sleep 1111",
		"loud":  "echo up; while :; do echo 1111; done",
		"tty":   "echo up; busybox sleep 1111",
	} {
		c := n.visit("a", &session.Request{Op: session.Exec, Command: sh(script), Input: true, TTY: name == "tty"})
		var seen strings.Builder
		expectOutput(t, c, &seen, "up")
		go c.Send(session.In, make([]byte, 2*session.Window))
		c.Close()
		n.vanished("a", "1111")
	}
	if c := n.find("a"); c.State != isolation.Running {
		t.Errorf("%+v", c)
	}
}

// A task that ends, ends what sessions run in it.
func TestExecTaskEnds(t *testing.T) {
	n := newNode(t)
	n.host("a")
	c := n.visit("a", &session.Request{Op: session.Exec, Command: sh("echo up; busybox sleep 1000")})
	var seen strings.Builder
	expectOutput(t, c, &seen, "up\n")
	n.Signal(n.ctx, "a", int(syscall.SIGTERM), false)
	if r, err := c.Run(nil, nil, nil); err != nil || r.Code != 137 {
		t.Errorf("%+v, %v", r, err)
	}
	if e := n.end("a"); e.Code != 9 {
		t.Errorf("%+v", e)
	}
	if _, err := n.Open(n.ctx, "a", &session.Request{Op: session.Exec, Command: sh("")}); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("%v", err)
	}
	made := n.spec("b", sh("")...)
	if err := n.Create(n.ctx, made); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Open(n.ctx, "b", &session.Request{Op: session.Exec, Command: sh("")}); sdk.KindOf(err) != sdk.Conflict {
		t.Errorf("not started: %v", err)
	}
}

// A keeper that takes a container over can hold sessions in it, and what those
// of the keeper before have left is ended.
func TestExecAfterKeeper(t *testing.T) {
	for _, how := range []string{"killed", "replaced"} {
		n := newNode(t)
		n.host("a")
		c := n.visit("a", &session.Request{Op: session.Exec, Command: sh("trap '' HUP PIPE; echo up; while :; do busybox usleep 1001; done")})
		var seen strings.Builder
		expectOutput(t, c, &seen, "up\n")
		if how == "killed" {
			if err := syscall.Kill(n.Info().PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			for range n.exits {
			}
		} else {
			n.cfg.Keeper = append(bytes.Clone(keeperELF), 0)
		}
		n.open()
		if code, out, _ := n.exec("a", &session.Request{Command: sh("echo $$ here; exit 4")}, nil); code != 4 || !strings.Contains(out, "here") {
			t.Errorf("%s: %d %q", how, code, out)
		}
		n.vanished("a", "usleep 1001")
		if c := n.find("a"); c.State != isolation.Running {
			t.Errorf("%s: %+v", how, c)
		}
	}
}

func TestAttach(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("echo up; while [ ! -e /tmp/go ]; do busybox usleep 1000; done; echo out; echo err >&2; exit 11")...)
	n.begin(s)
	n.line(s, "up")
	c := n.visit("a", &session.Request{Op: session.Attach})
	n.exec("a", &session.Request{Command: sh("echo > /tmp/go")}, nil)
	var out, errs bytes.Buffer
	r, err := c.Run(nil, &out, &errs)
	if err != nil || r.Code != 11 || out.String() != "out\n" || errs.String() != "err\n" {
		t.Errorf("%+v, %v, %q, %q", r, err, out.String(), errs.String())
	}
}

// Who watches and does not read is let go; the task notices nothing.
func TestAttachSlow(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", sh("while [ ! -e /tmp/go ]; do busybox usleep 1000; done; busybox yes | busybox head -c 20000000; exit 2")...)
	n.begin(s)
	c := n.visit("a", &session.Request{Op: session.Attach})
	n.exec("a", &session.Request{Command: sh("echo > /tmp/go")}, nil)
	if e := n.end("a"); e.Code != 2 {
		t.Errorf("%+v", e)
	}
	r, err := c.Run(nil, nil, nil)
	if err != nil || r.Error == nil || r.Error.Kind != sdk.Exhausted {
		t.Errorf("%+v, %v", r, err)
	}
}

// files makes a folder with what an archive can hold.
func files(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "sub", "deep"), 0o755),
		os.WriteFile(filepath.Join(dir, "run"), []byte("#!/bin/sh\necho ran\n"), 0o755),
		os.WriteFile(filepath.Join(dir, "sub", "secret"), bytes.Repeat([]byte("0123456789"), 100_000), 0o600),
		os.Symlink("../run", filepath.Join(dir, "sub", "link")),
		os.Link(filepath.Join(dir, "run"), filepath.Join(dir, "again")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (n *node) put(id sdk.TaskID, path string, in io.Reader) error {
	n.t.Helper()
	r, err := n.visit(id, &session.Request{Op: session.Put, Path: path, Input: true}).Run(in, nil, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if r.Error != nil {
		return r.Error
	}
	return nil
}

func (n *node) get(id sdk.TaskID, path string) ([]byte, error) {
	n.t.Helper()
	var b bytes.Buffer
	r, err := n.visit(id, &session.Request{Op: session.Get, Path: path}).Run(nil, &b, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	if r.Error != nil {
		return b.Bytes(), r.Error
	}
	return b.Bytes(), nil
}

func packed(t *testing.T, path string) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	if err := archive.Pack(&b, path); err != nil {
		t.Fatal(err)
	}
	return &b
}

// What goes in comes out as it was, also for a program that could not write
// there itself.
func TestCopy(t *testing.T) {
	n := newNode(t)
	n.host("a", func(s *isolation.Spec) { s.Program.User = "web" })
	dir := files(t)
	if err := n.put("a", "/etc", packed(t, dir)); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := n.exec("a", &session.Request{Command: sh("/etc/tree/sub/link; /etc/tree/again; busybox stat -c %a /etc/tree/sub/secret")}, nil); code != 0 || out != "ran\nran\n600\n" {
		t.Errorf("%d %q %q", code, out, errs)
	}
	got, err := n.get("a", "/etc/tree")
	if err != nil {
		t.Fatal(err)
	}
	back := t.TempDir()
	if err := archive.Unpack(bytes.NewReader(got), back); err != nil {
		t.Fatal(err)
	}
	if a, b := packed(t, dir).Bytes(), packed(t, filepath.Join(back, "tree")).Bytes(); !bytes.Equal(a, b) {
		t.Error("what came back differs")
	}
	// A name that is not there becomes the name.
	if err := n.put("a", "/tmp/renamed", packed(t, dir)); err != nil {
		t.Fatal(err)
	}
	if got, err = n.get("a", "/tmp/renamed/run"); err != nil || !bytes.Contains(got, []byte("echo ran")) {
		t.Errorf("%v", err)
	}
	for path, want := range map[string]sdk.FaultKind{"/nowhere/at/all": sdk.NotFound, "/proc/renamed": sdk.NotFound} {
		if err := n.put("a", path, packed(t, dir)); sdk.KindOf(err) != want && sdk.KindOf(err) != sdk.Denied {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := n.get("a", "/nowhere"); sdk.KindOf(err) != sdk.NotFound {
		t.Errorf("%v", err)
	}
	if _, err := n.Open(n.ctx, "a", &session.Request{Op: session.Get, Path: "etc"}); sdk.KindOf(err) != sdk.Invalid {
		t.Errorf("%v", err)
	}
}

// Links that a container or an archive makes lead to nothing outside.
func TestCopyTraps(t *testing.T) {
	n := newNode(t)
	n.host("a")
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "host"), []byte("of the node"), 0o666); err != nil {
		t.Fatal(err)
	}
	n.exec("a", &session.Request{Command: sh("cd /tmp; busybox ln -s " + outside + " out; busybox ln -s /../../../../../../.." + outside + " up; busybox ln -s /proc/1/root" + outside + " root; busybox mkfifo pipe; busybox ln -s /etc in")}, nil)
	for _, name := range []string{"out", "up", "root"} {
		if b, err := n.get("a", "/tmp/"+name+"/host"); err == nil || bytes.Contains(b, []byte("of the node")) {
			t.Errorf("%s: the node's file came out: %v", name, err)
		}
		n.put("a", "/tmp/"+name, packed(t, files(t)))
	}
	for name, entries := range map[string][]tar.Header{
		"up":       {{Name: "../escaped", Typeflag: tar.TypeReg}},
		"absolute": {{Name: outside + "/escaped", Typeflag: tar.TypeReg}},
		"link":     {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/.." + outside}, {Name: "l/escaped", Typeflag: tar.TypeReg}},
		"hard":     {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}},
		"device":   {{Name: "d", Typeflag: tar.TypeBlock, Devmajor: 8}},
	} {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		for _, h := range entries {
			h.Mode = 0o666
			if err := tw.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		tw.Close()
		if err := n.put("a", "/tmp", &b); err == nil {
			t.Errorf("%s was unpacked", name)
		}
	}
	if list, _ := os.ReadDir(outside); len(list) != 1 {
		t.Errorf("outside: %v", list)
	}
	// A link within the container is followed there, and a pipe waits for nobody.
	if b, err := n.get("a", "/tmp/in/passwd"); err != nil || !bytes.Contains(b, []byte("web:x:1000")) {
		t.Errorf("%v", err)
	}
	if _, err := n.get("a", "/tmp/"); err != nil {
		t.Errorf("%v", err)
	}
}

func TestForward(t *testing.T) {
	n := newNode(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	script := fmt.Sprintf("echo up; busybox nc -l -p %d -e busybox sha256sum", port)
	for _, private := range []bool{false, true} {
		id := fmt.Sprint("private-", private)
		s := n.spec(id, sh("echo up; while :; do busybox sleep 1; done")...)
		s.PrivateNetwork = private
		n.begin(s)
		n.line(s, "up")
		q := &session.Request{Op: session.Forward, Port: port}
		if !private {
			// The test listens there, and is not the task.
			if _, err := n.Open(n.ctx, s.ID, q); sdk.KindOf(err) != sdk.Unavailable {
				t.Errorf("another's port: %v", err)
			}
			l.Close()
		}
		if _, err := n.Open(n.ctx, s.ID, q); sdk.KindOf(err) != sdk.Unavailable {
			t.Errorf("nobody listens: %v", err)
		}
		c := n.visit(s.ID, &session.Request{Op: session.Exec, Command: sh(script)})
		go c.Run(nil, nil, nil)
		var rwc io.ReadWriteCloser
		n.until("the port", func() bool {
			rwc, err = n.Open(n.ctx, s.ID, q)
			return err == nil
		})
		data := bytes.Repeat([]byte("0123456789"), 300_000)
		var out bytes.Buffer
		r, err := session.New(session.Stream(rwc), nil).Run(bytes.NewReader(data), &out, nil)
		if want := fmt.Sprintf("%x  -\n", sha256.Sum256(data)); err != nil || r.Error != nil || out.String() != want {
			t.Errorf("private %v: %+v, %v, %q", private, r, err, out.String())
		}
	}
}

var errStop = errors.New("stop")

// A client whose output is in trouble ends the session.
func TestExecClientFails(t *testing.T) {
	n := newNode(t)
	n.host("a")
	c := n.visit("a", &session.Request{Op: session.Exec, Command: sh("while :; do echo 2222; done")})
	if _, err := c.Run(nil, full{}, nil); !errors.Is(err, errStop) {
		t.Errorf("%v", err)
	}
	n.vanished("a", "2222")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errStop }
