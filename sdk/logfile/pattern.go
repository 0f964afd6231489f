package logfile

import (
	"errors"
	"regexp"
	"regexp/syntax"
	"strings"

	"github.com/drupe-os/drupe/sdk"
)

// MaxPattern bounds an expression that lines are searched for, in bytes.
const MaxPattern = 4 << 10

// Pattern compiles an expression (RE2) that lines must match; "" gives nil,
// which every line does. Matching takes time linear in the line, whatever the
// expression. Faults, nil for none: Invalid, with the place in the expression.
func Pattern(expr string) (*regexp.Regexp, *sdk.Fault) {
	if expr == "" {
		return nil, nil
	}
	if len(expr) > MaxPattern {
		return nil, sdk.Errorf(sdk.Invalid, "", "has %d bytes, more than %d", len(expr), MaxPattern).At("match")
	}
	re, err := regexp.Compile(expr)
	if err == nil {
		return re, nil
	}
	f := sdk.Errorf(sdk.Invalid, "", "%q is no regular expression", expr).At("match").
		ToFix("the syntax is that of RE2; a backslash takes a character literally")
	var s *syntax.Error
	if !errors.As(err, &s) {
		return nil, f.Because("%v", err)
	}
	if i := strings.Index(expr, s.Expr); i >= 0 && s.Expr != expr {
		return nil, f.Because("%s at character %d: %s", s.Code, i+1, s.Expr)
	}
	return nil, f.Because("%s", s.Code)
}
