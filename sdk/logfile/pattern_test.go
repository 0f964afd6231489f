package logfile

import (
	"strings"
	"testing"

	"github.com/drupe-os/drupe/sdk"
)

func TestPattern(t *testing.T) {
	if re, f := Pattern(""); re != nil || f != nil {
		t.Errorf("%v %v", re, f)
	}
	if re, f := Pattern("a.c"); f != nil || !re.MatchString("xabcx") {
		t.Errorf("%v %v", re, f)
	}
	for expr, why := range map[string]string{
		"ab[c":                            "missing closing ] at character 3: [c",
		"a(b":                             "missing closing )",
		"x**":                             "invalid nested repetition operator at character 2: **",
		strings.Repeat("x", MaxPattern+1): "",
	} {
		if _, f := Pattern(expr); f == nil || f.Kind != sdk.Invalid || f.Field != "match" || f.Why != why {
			t.Errorf("%.20q: %#v", expr, f)
		}
	}
}
