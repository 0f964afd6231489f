package diagnose

import "strings"

// Nearest returns the candidate that a person most likely meant by word, or ""
// when none is near.
func Nearest(word string, candidates []string) string {
	best, bestAt := "", 0
	limit := max(1, (len(word)+1)/3)
	for _, c := range candidates {
		d := distance(strings.ToLower(word), strings.ToLower(c))
		if strings.TrimSuffix(word, "s") == strings.TrimSuffix(c, "s") {
			d = min(d, 1)
		}
		if d <= limit && d < len(c) && (best == "" || d < bestAt) {
			best, bestAt = c, d
		}
	}
	return best
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(x)][len(y)]
}

// habits maps names that other systems use to ours.
var habits = map[string]string{
	"replicas": "instances", "count": "instances", "scale": "instances", "copies": "instances",
	"cpu": "cpus", "cores": "cpus", "core": "cpus", "vcpus": "cpus",
	"memory": "mem", "ram": "mem", "mem_mb": "mem", "storage": "disk", "gpu": "gpus",
	"environment": "env", "envs": "env", "vars": "env",
	"cmd": "command", "entrypoint": "command", "exec": "command", "arguments": "args",
	"cwd": "workdir", "working_dir": "workdir", "workingdir": "workdir",
	"healthcheck": "checks", "healthchecks": "checks", "health": "checks", "probes": "checks", "livenessprobe": "checks",
	"uri": "path", "url": "path", "hostport": "host", "containerport": "host", "caps": "capabilities", "cap_add": "capabilities",
	"placement": "constraints", "affinity": "constraints", "requests": "resources", "quota": "limit",
	"crontab": "cron", "tz": "timezone", "concurrency": "overlap", "concurrencypolicy": "overlap",
	"attempts": "retries", "max_retries": "retries", "stop_timeout": "grace", "kill_timeout": "grace",
	"update": "upgrade", "upgradestrategy": "upgrade", "strategy": "upgrade",
	"service": "services", "app": "services", "apps": "services", "deployment": "services",
	"job": "jobs", "cron_jobs": "jobs", "role": "roles", "roles": "role", "node": "nodes",
	"group": "role", "namespace": "role", "team": "role",
	"labels": "attributes", "tags": "attributes", "field": "attribute", "op": "operator", "values": "value",
	"limits": "limit", "limit": "limits", "reserved": "reservations", "schedulable": "cordoned", "period": "interval",
}

// Habit returns our name for a field that people know by another, when it is
// among the candidates.
func Habit(word string, candidates []string) string {
	ours, ok := habits[strings.ToLower(word)]
	if !ok {
		return ""
	}
	for _, c := range candidates {
		if c == ours {
			return ours
		}
	}
	return ""
}
