package agent

import "strings"

// expand replaces $(NAME) by the value of the variable NAME in what a template
// says, for programs that want a port or a name as an argument. Only names the
// node sets are replaced; $(ANYTHING_ELSE) stays as it is, and $$( is $(.
func expand(s string, env []string) string {
	if !strings.Contains(s, "$(") {
		return s
	}
	var b strings.Builder
	for {
		i := strings.Index(s, "$(")
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		if i > 0 && s[i-1] == '$' {
			b.WriteString(s[:i-1] + "$(")
			s = s[i+2:]
			continue
		}
		b.WriteString(s[:i])
		name, rest, closed := strings.Cut(s[i+2:], ")")
		value, known := lookup(env, name)
		if !closed || !known {
			b.WriteString("$(")
			s = s[i+2:]
			continue
		}
		b.WriteString(value)
		s = rest
	}
}

// lookup finds a variable among those a node may expand.
func lookup(env []string, name string) (string, bool) {
	if !strings.HasPrefix(name, "PORT") && !strings.HasPrefix(name, "DRUPE_") && name != "HOST" {
		return "", false
	}
	for i := len(env) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(env[i], name+"="); ok {
			return value, true
		}
	}
	return "", false
}
