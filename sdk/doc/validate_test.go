package doc

import (
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func TestDecode(t *testing.T) {
	for _, c := range []struct{ kind, body, want string }{
		{KindService, `{"run":{"container":{"image":"oci:/x"}}}`, ""},
		{KindService, `{"run":{},"instnces":1}`, `unknown field "instnces"`},
		{KindService, `{"instances":"3"}`, "string is given where a number is wanted"},
		{KindService, `{"run":{"container":{"command":"x"}}}`, "string is given where a list is wanted"},
		{KindService, `{"upgrade":{"min_healthy":0.12345}}`, "finer than one thousandth"},
		{KindService, `{"grace":"5 apples"}`, `write it as in "1m30s"`},
		{KindService, `{"resources":{"cpus":-1}}`, "negative"},
		{KindService, `{} {}`, "more than one JSON value"},
		{KindService, `{"run":`, "ends too early"},
		{KindService, ``, "ends too early"},
		{KindService, `{x}`, "not JSON"},
		{sdk.KindRole, `null`, ""},
		{KindJob, `[]`, "array is given where an object is wanted"},
		{"pod", `{}`, "unknown kind"},
	} {
		_, err := Decode(c.kind, []byte(c.body))
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.body, err)
			}
			continue
		}
		if sdk.KindOf(err) != sdk.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.body, err, c.want)
		}
	}
}

// TestCanonical shows that equal meaning gives equal bytes.
func TestCanonical(t *testing.T) {
	want := `{"env":{"A":"<&>"},"grace":"1m0s","resources":{"cpus":0.5,"mem":1024},"run":{"container":{"image":"oci:/x"}}}`
	for _, body := range []string{
		want,
		`{"run":{"container":{"image":"oci:/x","args":[]}}, "grace":"60s","priority":0,"env":{"A":"\u003c\u0026\u003e"},"resources":{"mem":1024,"cpus":0.500},"constraints":null}`,
	} {
		got, err := Canonical(KindService, []byte(body))
		if err != nil || string(got) != want {
			t.Errorf("%s, %v", got, err)
		}
	}
	for _, body := range []string{`{"instances":0,"run":{}}`, `{"run":{},"unreachable":{"replace_after":"0s"}}`} {
		if got, err := Canonical(KindService, []byte(body)); err != nil || string(got) != body {
			t.Errorf("%s became %s, %v", body, got, err)
		}
	}
}

func TestValidate(t *testing.T) {
	const run = `"run":{"container":{"image":"oci:/x"}}`
	for _, c := range []struct{ kind, name, body, field, words string }{
		{KindService, "a", `{` + run + `}`, "", ""},
		{KindService, "A", `{` + run + `}`, "", "cannot be a name"},
		{KindService, "a", `{}`, "run", "nothing to run"},
		{KindService, "a", `{"run":{"container":{"image":"oci:x"}}}`, "run.container.image", "relative"},
		{KindService, "a", `{"run":{"container":{"image":"redis:7"}}}`, "run.container.image", "not an image"},
		{KindService, "a", `{"run":{"container":{"image":"oci:/x","capabilities":["CAP_KILL"]}}}`, "run.container.capabilities.0", "without CAP_"},
		{KindService, "a", `{` + run + `,"role":"a//b"}`, "role", "not a role's path"},
		{KindService, "a", `{` + run + `,"instances":-1}`, "instances", "negative"},
		{KindService, "a", `{` + run + `,"limits":{"mem":1},"resources":{"mem":2}}`, "limits.mem", "below"},
		{KindService, "a", `{` + run + `,"limits":{"cpus":1},"resources":{"cpus":2}}`, "limits.cpus", "below"},
		{KindService, "a", `{` + run + `,"resources":{"disk":2},"limits":{"disk":1}}`, "limits.disk", "below the 2"},
		{KindService, "a", `{` + run + `,"resources":{"memory":1}}`, "resources.memory", "unknown resource"},
		{KindService, "a", `{` + run + `,"resources":{"ports":1}}`, "resources.ports", "not a resource"},
		{KindService, "a", `{` + run + `,"ports":{"a_b":{}}}`, "ports.a_b", "port's name"},
		{KindService, "a", `{` + run + `,"ports":{"a":{"host":1},"b":{"host":1}}}`, "ports.b.host", "also wanted"},
		{KindService, "a", `{` + run + `,"checks":{"c":{}}}`, "checks.c", "how to check"},
		{KindService, "a", `{` + run + `,"checks":{"c":{"tcp":{"port":"x"}}}}`, "checks.c.tcp.port", "no port"},
		{KindService, "a", `{` + run + `,"ports":{"x":{}},"checks":{"c":{"tcp":{"port":"x"},"name":"d"}}}`, "checks.c.name", "named"},
		{KindService, "a", `{` + run + `,"ports":{"x":{}},"checks":{"c":{"tcp":{"port":"x"},"delay":"-1s"}}}`, "checks.c.delay", "negative"},
		{KindService, "a", `{` + run + `,"env":{"P":"x$(PORT_ADMIN_1)"},"ports":{"admin":{}}}`, "env.P", "not asked for"},
		{KindService, "a", `{` + run + `,"env":{"P":"x$(PORT_ADMIN_1)"},"ports":{"admin-1":{}}}`, "", ""},
		{KindJob, "a", `{"run":{"container":{"image":"oci:/x","command":["$(PORT_A)"]}}}`, "run.container.command.0", "not asked for"},
		{KindService, "a", `{` + run + `,"upgrade":{"min_healthy":1.001}}`, "upgrade.min_healthy", "more than all"},
		{KindService, "a", `{` + run + `,"backoff":{"factor":0.9}}`, "backoff.factor", "below 1"},
		{KindService, "a", `{` + run + `,"backoff":{"first":"2s","max":"1s"}}`, "backoff.first", "longer"},
		{KindService, "a", `{` + run + `,"constraints":[{"attribute":"r","operator":"near"}]}`, "constraints.0.operator", "unknown operator"},
		{KindJob, "a", `{` + run + `,"schedule":{"cron":"* * *"}}`, "schedule.cron", "not five fields"},
		{KindJob, "a", `{` + run + `,"schedule":{"cron":"* * * * *","timezone":"a b"}}`, "schedule.timezone", "not a time zone"},
		{KindJob, "a", `{` + run + `,"schedule":{"cron":"* * * * *","overlap":"maybe"}}`, "schedule.overlap", "unknown overlap"},
		{sdk.KindRole, "a/B", `{}`, "", "not a role's path"},
		{sdk.KindRole, "a", `{"guarantee":{"mem":2},"limit":{"mem":1}}`, "guarantee.mem", "over the limit"},
		{sdk.KindNode, "n", `{"reservations":{"A":{}}}`, "reservations.A", "not a role's path"},
	} {
		v, err := Decode(c.kind, []byte(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.body, err)
			continue
		}
		got := Validate(c.name, v)
		if c.words == "" {
			if len(got) > 0 {
				t.Errorf("%s: %+v", c.body, got)
			}
			continue
		}
		if len(got) != 1 || strings.Join(got[0].Path, ".") != c.field || !strings.Contains(got[0].Message, c.words) {
			t.Errorf("%s: %+v, want %s at %s", c.body, got, c.words, c.field)
		}
	}
}

func TestCheckCron(t *testing.T) {
	for line, good := range map[string]bool{
		"* * * * *": true, "*/5 0-23/2 1,15 * mon-fri": true, "0 0 1 JAN sun": true, "59 23 31 12 7": true, "0-0 * * * *": true,
		"": false, "* * * *": false, "* * * * * *": false, "60 * * * *": false, "* 24 * * *": false, "* * 0 * *": false, "* * * 13 *": false,
		"* * * * 8": false, "*/0 * * * *": false, "*/x * * * *": false, "5-1 * * * *": false, ", * * * *": false, "-1 * * * *": false, "@daily": false,
		"1- * * * *": false, "mon * * * *": false, "*/99 * * * *": false,
	} {
		if err := CheckCron(line); (err == nil) != good {
			t.Errorf("%q: %v", line, err)
		}
	}
}
