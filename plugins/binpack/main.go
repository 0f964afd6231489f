// Plugin binpack is a scheduling policy that fills nodes one after the other.
// Package pack holds the algorithm.
package main

import (
	"github.com/drupe-os/drupe/plugins/binpack/pack"
	"github.com/drupe-os/drupe/sdk/policy"
)

func init() { policy.Register(pack.New) }

func main() {}
