// Plugin drf is Drupe's default scheduling policy: hierarchical weighted
// dominant resource fairness with guarantees and limits. Package fair holds the
// algorithm.
package main

import (
	"github.com/drupe-os/drupe/plugins/drf/fair"
	"github.com/drupe-os/drupe/sdk/policy"
)

func init() { policy.Register(fair.New) }

func main() {}
