package isolation

import "strings"

// Grant is what the devices that a task holds add to its containers.
type Grant struct {
	Devices []Device
	Mounts  []Mount
	// Env in the form NAME=value. Of PATH and LD_LIBRARY_PATH the value is put
	// before what the program has, of others in its place.
	Env []string
}

// AddTo gives the grant to a task: to its own program and to its sidecars.
func (g *Grant) AddTo(s *Spec) {
	s.Devices = append(s.Devices, g.Devices...)
	s.Mounts = append(s.Mounts, g.Mounts...)
	s.Program.Env = g.environment(s.Program.Env)
	for i := range s.Sidecars {
		s.Sidecars[i].Env = g.environment(s.Sidecars[i].Env)
	}
}

func (g *Grant) environment(env []string) []string {
	out := append([]string(nil), env...)
	for _, e := range g.Env {
		name, value, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			continue
		}
		at := -1
		for i := range out {
			if had, rest, ok := strings.Cut(out[i], "="); ok && had == name {
				if (name == "PATH" || name == "LD_LIBRARY_PATH") && rest != "" {
					value += ":" + rest
				}
				at = i
			}
		}
		if at < 0 {
			out = append(out, "")
			at = len(out) - 1
		}
		out[at] = name + "=" + value
	}
	return out
}
