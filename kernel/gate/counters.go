package gate

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// counters counts requests by route and class of status. The table is fixed
// when the gate is made, so labels are bounded and counting takes no lock.
type counters struct {
	table  []Route
	routes map[string]*routeCounter // by method and pattern
}

type routeCounter struct {
	class [6]atomic.Uint64 // by status / 100
	nanos atomic.Int64     // time taken, all together
}

func (c *counters) init(table []Route) {
	c.table, c.routes = table, make(map[string]*routeCounter, len(table))
	for _, rt := range table {
		c.routes[rt.Method+" "+rt.Pattern] = &routeCounter{}
	}
}

func (c *counters) add(rt *Route, status int, took time.Duration) {
	n := c.routes[rt.Method+" "+rt.Pattern]
	n.class[min(status/100, 5)].Add(1)
	if !rt.Stream {
		n.nanos.Add(int64(took))
	}
}

// write appends the counts in Prometheus' text format, in the table's order.
func (c *counters) write(w io.Writer) {
	io.WriteString(w, "# HELP drupe_http_requests_total Requests answered, by route and class of status.\n"+
		"# TYPE drupe_http_requests_total counter\n")
	for _, rt := range c.table {
		n := c.routes[rt.Method+" "+rt.Pattern]
		for class := range n.class {
			if v := n.class[class].Load(); v > 0 {
				fmt.Fprintf(w, "drupe_http_requests_total{method=%q,route=%q,class=\"%dxx\"} %d\n", rt.Method, rt.Pattern, class, v)
			}
		}
	}
	io.WriteString(w, "# HELP drupe_http_seconds_total Time spent answering, streams left out.\n"+
		"# TYPE drupe_http_seconds_total counter\n")
	for _, rt := range c.table {
		if v := c.routes[rt.Method+" "+rt.Pattern].nanos.Load(); v > 0 {
			fmt.Fprintf(w, "drupe_http_seconds_total{method=%q,route=%q} %g\n", rt.Method, rt.Pattern, time.Duration(v).Seconds())
		}
	}
}
