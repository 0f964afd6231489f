package gate

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/drupe-os/drupe/sdk"
)

// checkQuery refuses parameters the route does not know and those given twice:
// a filter with a typing error must not return everything.
func (q *request) checkQuery(rt *Route) error {
	for name, values := range q.r.URL.Query() {
		if !slices.Contains(rt.Query, name) {
			f := sdk.Errorf(sdk.Invalid, "", "there is no parameter %q", name).At(name)
			if len(rt.Query) > 0 {
				f.ToFix("known here: %s", strings.Join(rt.Query, ", "))
			}
			return malformed(f)
		}
		if len(values) > 1 {
			return malformed(sdk.Errorf(sdk.Invalid, "", "is given %d times", len(values)).At(name))
		}
	}
	return nil
}

// param returns a query parameter, "" when absent.
func (q *request) param(name string) string { return q.r.URL.Query().Get(name) }

// flag reads a parameter that is 1 or 0, absent for unset.
func (q *request) flag(name string, unset bool) (bool, error) {
	switch q.param(name) {
	case "":
		return unset, nil
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return false, malformed(sdk.Errorf(sdk.Invalid, "", "%q is neither 1 nor 0", q.param(name)).At(name))
}

// number reads a whole number.
func (q *request) number(name string, unset int64) (int64, error) {
	s := q.param(name)
	if s == "" {
		return unset, nil
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, malformed(sdk.Errorf(sdk.Invalid, "", "%q is no whole number", s).At(name))
	}
	return v, nil
}

// time reads a point in time: Unix milliseconds or RFC 3339; 0 when absent.
func (q *request) time(name string) (sdk.Time, error) {
	s := q.param(name)
	if s == "" {
		return 0, nil
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms >= 0 {
		return sdk.Time(ms), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, malformed(sdk.Errorf(sdk.Invalid, "", "%q is no time", s).At(name).
			ToFix("write Unix milliseconds, or RFC 3339 as in 2026-01-31T09:30:00Z"))
	}
	return sdk.Time(t.UnixMilli()), nil
}

// rolePath reads a role.
func (q *request) rolePath(name string) (sdk.RolePath, error) {
	p := sdk.RolePath(q.param(name))
	if !p.Valid() {
		return "", malformed(sdk.Errorf(sdk.Invalid, "", "%q is no role path", p).At(name).
			ToFix("write it as in eng/web"))
	}
	return p, nil
}

// ref returns the document named by the path.
func (q *request) ref() sdk.Ref {
	return sdk.Ref{Kind: q.r.PathValue("kind"), Name: q.r.PathValue("name")}
}

// json decodes the body into v. An empty body leaves v as it is.
func (q *request) json(v any) error {
	if len(q.body) == 0 {
		return nil
	}
	if t := contentType(q.r); t != "" && t != "application/json" {
		return wrongType(t, "application/json")
	}
	return decode(q.body, v)
}

// list answers with a list and the log index it shows.
func (q *request) list(items any, index uint64) (any, error) {
	q.w.Header().Set(sdk.IndexHeader, strconv.FormatUint(index, 10))
	return items, nil
}
